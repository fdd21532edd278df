"""From an answer and a fault to the steps that put bytes on a wire; no socket here.

The heads of all answers, and the framing of the honest ones, are h11's. Where a fault breaks
the framing, the bytes go past h11 and the connection is closed after them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat

import h11

from masivo.emulator.answers import TYPE_JSON, Answer, encode, reason_phrase
from masivo.emulator.faults import Fault

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
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection in order; nothing follows."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (TCP RST); nothing follows."""


Step = Send | Wait | Close | Reset


def altered(
    answer: Answer | None, fault: Fault, base_headers: tuple[tuple[str, str], ...]
) -> Answer:
    """Return the answer with the fault's status, body and headers.

    `answer` is the API's own, None where it did not process the request; `base_headers` are
    those that an answer made here carries.
    """
    if answer is None or fault.status is not None or fault.body is not None:
        status = fault.status or (answer.status if answer else 200)
        headers = answer.headers if answer else (*base_headers, ("Content-Type", TYPE_JSON))
        body = _stand_in(status) if fault.body is None else _encoded(fault.body)
        answer = Answer(status, body, headers)
    if fault.size is not None:
        answer = replace(answer, body=_padding(fault.size))
    for name, value in (fault.headers or {}).items():
        kept = tuple(each for each in answer.headers if each[0].lower() != name.lower())
        answer = replace(answer, headers=kept if value is None else (*kept, (name, value)))
    return answer


def steps(conn: h11.Connection, method: str, answer: Answer, fault: Fault) -> Iterator[Step]:
    """Yield the steps that send an answer, on a connection whose request has been read.

    `answer` has been through `altered`. When the steps end without Close or Reset, `conn` knows
    whether the connection can be used again.
    """
    if fault.raw is not None:
        yield from _paced(fault.raw, fault.drip)
        yield Close()
        return
    bodiless = method == "HEAD" or answer.status in _BODILESS
    body = b"" if bodiless else answer.body
    head = conn.send(_head(answer, fault))
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


def _head(answer: Answer, fault: Fault) -> h11.Response:
    headers = list(answer.headers)
    removed = {name.lower() for name in fault.headers or {}}
    if fault.content_length is not None:
        headers = [each for each in headers if each[0].lower() != "content-length"]
        headers.append(("Content-Length", str(fault.content_length)))
    elif not fault.endless and "content-length" not in removed and answer.status not in _BODILESS:
        headers.append(("Content-Length", str(len(answer.body))))
    return h11.Response(
        status_code=answer.status, headers=headers, reason=reason_phrase(answer.status).encode()
    )


def _declares_length(fault: Fault) -> bool:
    """Whether the fault sets the framing itself, so that it may be a lie."""
    headers = {name.lower(): value for name, value in (fault.headers or {}).items()}
    return (
        fault.content_length is not None
        or headers.get("content-length") is not None
        or headers.get("transfer-encoding") is not None
    )


def _endless(conn: h11.Connection, head: bytes, opening: bytes, fault: Fault) -> Iterator[Step]:
    lying = _declares_length(fault)
    yield from _paced(head, fault.drip)
    for index, piece in enumerate(chain([opening], repeat(b"x" * PIECE))):
        if index == 1 and fault.delay_body:
            yield Wait(fault.delay_body)
        yield from _paced(piece if lying else conn.send(h11.Data(data=piece)), fault.drip)


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


def _stand_in(status: int) -> bytes:
    phrase = reason_phrase(status) or f"Status {status}"
    if status < 300:
        return encode({"data": {"status": "PENDING"}})
    return encode({"error": phrase, "details": "The emulator was told to answer so"})


def _padding(size: int) -> bytes:
    """Return a JSON document of exactly so many bytes."""
    opening, closing = b'{"data":"', b'"}'
    room = size - len(opening) - len(closing)
    return opening + b"x" * room + closing if room >= 0 else b"{}".ljust(size)
