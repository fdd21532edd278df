"""``masivo send``: send one event and print its outcome."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from masivo import Client, MasivoError

from . import fields, terminal
from .account import find_account, options
from .exits import TABLE, Exit, UsageError, print_error, report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from masivo import FailedEvent

__all__ = ["send"]

_KEPT = "the event is kept in the spool, and will be sent later"
_OWN_OPTIONS = {"type": "TYPE", "customer_id": "--customer", "brand_id": "--brand or --no-brand"}


@click.command(epilog=TABLE, short_help="Send one event.")
@click.argument("type_", type=fields.utf8, metavar="TYPE")
@click.option("--customer", type=fields.utf8, required=True, metavar="ID", help="Customer ID.")
@click.option(
    "--brand", type=fields.utf8, metavar="ID", help="Brand ID; required without --no-brand."
)
@click.option("--no-brand", is_flag=True, help="The event has no brand.")
@click.option(
    "-d",
    "--data",
    type=fields.utf8,
    multiple=True,
    metavar="KEY=VALUE",
    help="Extra field. A value that is valid JSON is read as JSON, else as text; dots nest: "
    "-d product.sku=A1. To send digits as text, quote them: -d 'zip=\"10115\"'.",
)
@options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def send(
    type_: str,
    customer: str,
    brand: str | None,
    no_brand: bool,
    data: tuple[str, ...],
    base_url: str | None,
    key_file: str | None,
    as_json: bool,
) -> Exit:
    """Send one event of this TYPE, and print its outcome.

    \b
    masivo send ADD_TO_CART --customer c-1 --brand shoes \\
        -d platform=web -d product.sku=A1 -d product.value=19.99
    """
    if (brand is None) != no_brand:
        raise UsageError("pass either --brand ID or --no-brand")
    event: dict[str, object] = {"type": type_, "customer_id": customer, "brand_id": brand}
    extra = fields.parse_assignments(data)
    for path, value in extra:
        if path[0] in _OWN_OPTIONS:
            raise UsageError(f"-d {path[0]}=…: use {_OWN_OPTIONS[path[0]]} instead")
        fields.put(event, path, value)
    _check(event)
    account = find_account(base_url, key_file)
    with Client(account.key.reveal(), base_url=account.base_url, on_error=_told) as client:
        try:
            delivery = client.send_analytics_event(event)
            client.flush()
            outcome = delivery.result()
        except MasivoError as error:
            if as_json:
                terminal.result_json({"success": False, "error": report(error)})
            code = print_error(error, account.base_url)
            if code is Exit.EVENTS_REJECTED:
                _say_how_to_quote(error.message, zip(data, extra, strict=True))
            return code
        except KeyboardInterrupt:
            client.destroy()  # do not wait for the response
            terminal.note("")  # after the ^C of the terminal
            kept = client.stats().spooled
            raise click.Abort(_KEPT if kept else "the event may have been accepted") from None
    if as_json:
        terminal.result_json(
            {"success": outcome.success, "status": outcome.status, "data": outcome.data}
        )
    else:
        terminal.result(f"Accepted by {account.base_url} (HTTP {outcome.status}).")
    return Exit.GOOD


def _told(_: FailedEvent) -> None:
    """Leave out the client's warning: the command prints the outcome itself."""


def _names(message: str, field: str) -> bool:
    """Return whether a message names this field, and not another whose name has this one in it."""
    return re.search(rf"\b{re.escape(field)}\b", message) is not None


def _say_how_to_quote(
    message: str, assignments: Iterable[tuple[str, tuple[fields.Path, object]]]
) -> None:
    """Say of each number that a message names how it is sent as text."""
    for text, (path, value) in assignments:
        if isinstance(value, int | float) and _names(message, ".".join(path)):
            name, _, digits = text.partition("=")
            terminal.note(f"To send {digits} as text, quote it: -d '{name}=\"{digits}\"'")


def _check(event: dict[str, object]) -> None:
    """Raise MasivoValidationError for an invalid event, before prompting for a key."""
    with Client(enabled=False) as validator:
        validator.send_analytics_event(event)
