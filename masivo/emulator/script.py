"""The steps that send a response, altered by a fault; no socket here.

h11 writes the head of every response, and the body unless a fault breaks the framing: then the
bytes bypass h11, and the connection is closed after them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat

import h11

from masivo.emulator.faults import Fault
from masivo.emulator.responses import TYPE_JSON, Response, encode, reason_phrase

# Bytes in one piece of an endless body.
PIECE = 65_536

NO_FAULT = Fault()

_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection in order; nothing follows."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (TCP RST); nothing follows."""


Step = Send | Wait | Close | Reset


def altered(
    response: Response | None, fault: Fault, base_headers: tuple[tuple[str, str], ...]
) -> Response:
    """Return the response with the fault's status, body and headers applied.

    `response` is the API's own, None if it did not process the request; `base_headers` are the
    headers of a response made here.
    """
    if response is None or fault.status is not None or fault.body is not None:
        status = fault.status or (response.status if response else 200)
        headers = response.headers if response else (*base_headers, ("Content-Type", TYPE_JSON))
        body = _default_body(status) if fault.body is None else _encoded(fault.body)
        response = Response(status, body, headers)
    if fault.size is not None:
        response = replace(response, body=_padding(fault.size))
    for name, value in (fault.headers or {}).items():
        kept = tuple(each for each in response.headers if each[0].lower() != name.lower())
        response = replace(response, headers=kept if value is None else (*kept, (name, value)))
    return response


def steps(conn: h11.Connection, method: str, response: Response, fault: Fault) -> Iterator[Step]:
    """Yield the steps that send a response, on a connection whose request has been read.

    `response` is the result of `altered`. When the steps end without Close or Reset, `conn` knows
    whether the connection can be used again.
    """
    if fault.raw is not None:
        yield from _paced(fault.raw, fault.drip)
        yield Close()
        return
    bodiless = method == "HEAD" or response.status in _BODILESS
    body = b"" if bodiless else response.body
    head = conn.send(_head(response, fault))
    if fault.truncate_headers is not None:
        yield from _paced(head[: fault.truncate_headers], fault.drip)
        yield Close()
        return
    if fault.endless and not bodiless:
        opening = b'{"data":"' if fault.body is None else body
        yield from _endless(conn, head, opening, fault)
        return
    honest = fault.truncate is None and not _declares_length(fault)
    if honest:
        data = conn.send(h11.Data(data=body)) if body else b""
        data += conn.send(h11.EndOfMessage())
    else:
        data = body[: fault.truncate]
    if fault.delay_body:
        half = len(data) // 2
        yield from _paced(head + data[:half], fault.drip)
        yield Wait(fault.delay_body)
        yield from _paced(data[half:], fault.drip)
    else:
        yield from _paced(head + data, fault.drip)
    if not honest:
        yield Close()


def _head(response: Response, fault: Fault) -> h11.Response:
    headers = list(response.headers)
    removed = {name.lower() for name in fault.headers or {}}
    if fault.content_length is not None:
        headers.append(("Content-Length", str(fault.content_length)))
    elif not fault.endless and "content-length" not in removed and response.status not in _BODILESS:
        headers.append(("Content-Length", str(len(response.body))))
    return h11.Response(
        status_code=response.status, headers=headers, reason=reason_phrase(response.status).encode()
    )


def _declares_length(fault: Fault) -> bool:
    """Return whether the fault sets the framing itself, which may then be wrong."""
    headers = {name.lower(): value for name, value in (fault.headers or {}).items()}
    return (
        fault.content_length is not None
        or headers.get("content-length") is not None
        or headers.get("transfer-encoding") is not None
    )


def _endless(conn: h11.Connection, head: bytes, opening: bytes, fault: Fault) -> Iterator[Step]:
    unframed = _declares_length(fault)
    yield from _paced(head, fault.drip)
    for index, piece in enumerate(chain([opening], repeat(b"x" * PIECE))):
        if index == 1 and fault.delay_body:
            yield Wait(fault.delay_body)
        yield from _paced(piece if unframed else conn.send(h11.Data(data=piece)), fault.drip)


def _paced(data: bytes, drip: float) -> Iterator[Step]:
    if not drip:
        yield Send(data)
        return
    for index in range(len(data)):
        yield Send(data[index : index + 1])
        yield Wait(drip)


def _encoded(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else encode(body)


def _default_body(status: int) -> bytes:
    phrase = reason_phrase(status) or f"Status {status}"
    if status < 300:
        return encode({"data": {"status": "PENDING"}})
    return encode({"error": phrase, "details": "The emulator was told to respond with this"})


def _padding(size: int) -> bytes:
    """Return a JSON document of exactly this many bytes."""
    opening, closing = b'{"data":"', b'"}'
    room = size - len(opening) - len(closing)
    return opening + b"x" * room + closing if room >= 0 else b"{}".ljust(size)
