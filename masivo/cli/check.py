"""``masivo check``: validate the key."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import click

from masivo import MasivoError
from masivo.protocol import Engine, Response, configure, unwrap

from . import terminal
from .account import Account, find_account, options
from .exits import TABLE, Exit, print_error, report
from .numbers import Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check"]

_LIMITS = {
    "limit": "x-ratelimit-limit",
    "remaining": "x-ratelimit-remaining",
    "reset_seconds": "x-ratelimit-reset",
}


@click.command(epilog=TABLE, short_help="Check the key.")
@options
@click.option(
    "--timeout",
    type=Seconds(0.1),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="Limit of the one request, in seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def check(base_url: str | None, key_file: str | None, timeout: float, as_json: bool) -> Exit:
    """Check the key: authorize once, and show the limits that the server reports.

    Nothing else is sent, and a failed authorization is not retried.
    """
    account = find_account(base_url, key_file)
    error, response = _authorize(account, timeout)
    limits = {} if response is None else _limits(response.headers)
    if as_json:
        document: dict[str, object] = {
            "ok": error is None,
            "base_url": account.base_url,
            "limits": limits or None,
        }
        if error is not None:
            document["error"] = report(error)
        terminal.result_json(document)
    if error is not None:
        code = print_error(error, account.base_url)
        if limits:
            terminal.note(_describe(limits))
        return code
    if not as_json:
        terminal.result(f"The key is good: a CLIENT key, accepted by {account.base_url}")
        terminal.result(_describe(limits))
    return Exit.GOOD


def _authorize(account: Account, timeout: float) -> tuple[MasivoError | None, Response | None]:
    """Authorize once; return the error, if any, and the last complete response.

    This is a small driver of its own, because a client does not expose a response's headers.
    """
    from masivo._http import ThreadSender, opener_of  # they import the HTTP library

    settings = configure(
        account.key, environ=os.environ, base_url=account.base_url, timeout=timeout, max_retries=0
    )
    engine = Engine(
        settings.account,
        clock=time.monotonic,
        wall_clock=time.time,
        random=random.Random(),
        wake=lambda: None,
    )
    ticket = engine.attach(settings).token()
    http, response = ThreadSender(opener_of(None, "Client", account.base_url)), None
    while ticket.claim() is None:
        for request in engine.poll().requests:
            result = http.send(request)
            response = result if isinstance(result, Response) else response
            engine.hand_back(request.id, result)
    http.close()
    try:
        unwrap(ticket.claim())
    except MasivoError as error:
        return error, response
    return None, response


def _limits(headers: Mapping[str, str]) -> dict[str, int]:
    """The rate limits of a response (``docs/explanation/wire.md#documented-by-the-vendor``)."""
    found = {name: headers.get(header, "").strip() for name, header in _LIMITS.items()}
    return {name: int(text) for name, text in found.items() if text.isascii() and text.isdigit()}


def _describe(limits: dict[str, int]) -> str:
    if not limits:
        return "The server reports no rate limit."
    parts: list[str] = []
    if "remaining" in limits:
        parts.append(f"{limits['remaining']:,} requests left")
    if "limit" in limits:
        parts.append(f"of {limits['limit']:,}" if parts else f"{limits['limit']:,} requests")
    text = " ".join(parts) or "not reported"
    if "reset_seconds" in limits:
        text += f"; it resets in {_duration(limits['reset_seconds'])}"
    return f"Limit: {text}."


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
