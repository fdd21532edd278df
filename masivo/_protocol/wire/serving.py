"""The server's side of both requests, for the emulator and the relay: paths and replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from .api import PUBLIC_BASE_URL

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BAD_KEY",
    "BASE_PATH",
    "METHODS",
    "NO_EVENTS",
    "NO_KEY",
    "NO_TOKEN",
    "Reply",
    "accepted",
    "bad_events",
    "bad_token",
    "bearer",
    "failure",
    "granted",
    "malformed",
    "wrong_method",
]

BASE_PATH: Final = urlsplit(PUBLIC_BASE_URL).path
"""The path of ``base_url`` on the vendor's host."""

METHODS: Final = {"authorize": "GET", "events": "POST", "event": "POST"}
"""The method of each route."""

MAX_NAMED: Final = 10
"""The number of bad events that a reply names."""


class Reply(NamedTuple):
    """A response, before it is encoded."""

    status: int
    document: dict[str, object]
    """The body, as JSON."""
    headers: tuple[tuple[str, str], ...] = ()
    problem: str | None = None
    """The fault, if this is an error; the body names it, too."""


def failure(
    status: int, error: str, details: str, headers: tuple[tuple[str, str], ...] = ()
) -> Reply:
    """An error in the form of the vendor's schema: two strings, ``error`` and ``details``."""
    return Reply(status, {"error": error, "details": details}, headers, details)


NO_KEY: Final = failure(401, "Unauthorized", "The header x-api-key is missing")
BAD_KEY: Final = failure(401, "Unauthorized", "The API key is not valid")
NO_TOKEN: Final = failure(401, "Unauthorized", "The bearer token is missing")
NO_EVENTS: Final = failure(422, "There are no events", "The array of events is empty")


def bad_token(problem: str) -> Reply:
    """The reply to a token that is not valid."""
    return failure(401, "Unauthorized", problem)


def wrong_method(allowed: str) -> Reply:
    """The reply to a method that a route does not have."""
    return failure(405, "Method Not Allowed", f"Use {allowed} here", (("Allow", allowed),))


def malformed(problem: str) -> Reply:
    """The reply to a malformed body."""
    return failure(400, "Bad Request", problem)


def bad_events(problems: Sequence[str], total: int) -> Reply:
    """The reply to a batch with bad events: none is accepted.

    Args:
        problems: what is wrong, for each of them; each text begins with the event's place.
        total: the number of events in the batch.
    """
    rest = f"; and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
    return failure(
        422,
        f"{problems[0]} ({len(problems)} of {total} events invalid; nothing was accepted)",
        "; ".join(problems[:MAX_NAMED]) + rest,
    )


def granted(token: str) -> Reply:
    """The reply to an authorization with a valid key."""
    return Reply(200, {"data": token})


def accepted(events: int) -> Reply:
    """The reply to a batch that was accepted."""
    return Reply(200, {"data": {"status": "PENDING", "accepted": events}})


def bearer(authorization: str) -> str | None:
    """The token in the header ``Authorization``; None without one."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
