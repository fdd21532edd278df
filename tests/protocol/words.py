"""The record of the core's texts that stand in tables: ``make words``.

``words.txt`` shows what a user reads for each row of them: advice for guessed names, the faults of
an event's fields, the replies of a server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from masivo._protocol import errors, values
from masivo._protocol.advice import INSTEAD, MEANT, advice
from masivo._protocol.events import encoding
from masivo._protocol.settings import configure, defaults
from masivo._protocol.wire import schema, serving
from masivo.protocol import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from masivo.protocol import Json

__all__ = ["RECORD", "current", "recorded"]

RECORD: Final = Path(__file__).with_name("words.txt")


def current() -> list[str]:
    """The texts as they are, a line for each row."""
    sections = {
        "Options that do not exist": _options(),
        "Attributes that do not exist": _attributes(),
        "Fields of an event under other names": _renamed(),
        "Faults of an event": _faults(),
        "Replies of the emulator and the relay": _replies(),
    }
    return [line for title, lines in sections.items() for line in ("", f"## {title}", *lines)]


def _options() -> Iterator[str]:
    for name in sorted({*MEANT, *INSTEAD}):
        yield f"{name}{advice(name, ['api_key', *defaults()])}"


def _attributes() -> Iterator[str]:
    for kind, names in values._MEANT.items():
        value = object.__new__(getattr(values, kind))
        yield from (_message_of(getattr, value, name) for name in names)
    error = errors.MasivoError("x")
    yield from (_message_of(getattr, error, name) for name in errors._MEANT)


def _message_of(function: Callable[..., object], *arguments: object) -> str:
    try:
        return f"no error, but {function(*arguments)!r}"
    except (AttributeError, errors.MasivoError) as error:
        return str(error)


def _renamed() -> Iterator[str]:
    encode = encoding.encoder(configure(Secret("key")))
    for field, others in encoding._MEANT.items():
        for other in others:
            event: dict[str, object] = {"type": "V", "customer_id": "c", other: "x"}
            event.pop(field, None)
            yield _message_of(encode, event)


def _faults() -> Iterator[str]:
    good: dict[str, Json] = {"type": "V", "customer_id": "c", "brand_id": None}
    reserved = frozenset({"RESERVED"})
    events: list[Json] = [
        [],
        {},
        {**good, "type": ""},
        {**good, "type": "RESERVED"},
        {"type": "V", "customer_id": "c"},
        {**good, "brand_id": 5},
        {**good, "issued_at": "now"},
        {**good, "issued_at": "1970-01-01T00:00:01.5Z"},
        {**good, "issued_at": "1969-12-28T00:00:00Z"},
        *({**good, **fields} for fields in _each_null(schema._EVENT)),
    ]
    for event in events:
        yield f"{schema.problem_with(event, now=0.0, reserved=reserved)}"


def _each_null(shape: schema.Shape) -> Iterator[dict[str, Any]]:
    """For each field of a shape, at every depth, an object in which it is null."""
    for name, rule in shape.items():
        yield {name: None}
        if isinstance(rule, schema.Each):
            yield from ({name: [inner]} for inner in _each_null(rule.shape))
        elif not isinstance(rule, schema.Kind):
            yield from ({name: inner} for inner in _each_null(rule))


def _replies() -> Iterator[str]:
    for reply in (
        serving.NO_KEY,
        serving.BAD_KEY,
        serving.NO_TOKEN,
        serving.bad_token("FAULT"),
        serving.wrong_method("GET"),
        serving.malformed("FAULT"),
        serving.NO_EVENTS,
        serving.bad_events(["[0] FAULT"], 2),
        serving.bad_events([f"[{number}] FAULT" for number in range(11)], 12),
        serving.granted("TOKEN"),
        serving.accepted(2),
    ):
        headers = "".join(f" {name}: {value}" for name, value in reply.headers)
        yield f"{reply.status}{headers} {json.dumps(reply.document)}"


def recorded() -> list[str]:
    """The texts as they were last recorded."""
    return RECORD.read_text("utf-8").splitlines()[1:]


if __name__ == "__main__":
    head = "# What the tables of the core say; `make words` writes it."
    RECORD.write_text("\n".join([head, *current()]) + "\n", "utf-8")
