"""The parts of a request that tests of the core look at."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from masivo.protocol import Json, Request


def payload(request: Request) -> list[dict[str, Any]]:
    """The events that a request carries."""
    value = cast("dict[str, list[dict[str, Any]]]", parsed(request.body))
    return value["events"]


def parsed(text: bytes) -> Json:
    """A JSON text's value."""
    return cast("Json", json.loads(text))


def numbers(request: Request) -> list[int]:
    """The ``n`` of the events that a request carries, in order."""
    return [each["n"] for each in payload(request)]


def is_authorization(request: Request) -> bool:
    """Whether a request asks for a token."""
    return request.method == "GET"


def header(request: Request, name: str) -> str | None:
    """The value of a request's header, None without one."""
    return dict(request.headers).get(name)
