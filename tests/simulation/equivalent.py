"""Mutants that nothing can tell from the core, each with the reason. They count as survivors."""

from __future__ import annotations

from typing import Final

__all__ = ["EQUIVALENT"]

_TYPES = "type checkers alone read it"
_SET = "set before it is read"
_LATER = "no refusal is there yet, and without one the time does not count"
_TABLE = "400 has a text in the table, which is looked at first"
_WAKES = "the other threshold wakes the driver at the first event"

EQUIVALENT: Final[dict[tuple[str, str], str]] = {
    (
        "outbox.py",
        "Outbox.step: if self.detached: never",
    ): "a client that is gone has nothing to do",
    ("delivery.py", "T: 'T': another text"): _TYPES,
    ("delivery.py", "T_co: 'T_co': another text"): _TYPES,
    ("delivery.py", "T_co: TypeVar('T_co', covariant=True): without covariant"): _TYPES,
    ("delivery.py", "T_co: True -> False"): _TYPES,
    ("core.py", "_Input: 'Delivery | Callable[[], None]': another text"): _TYPES,
    (
        "json.py",
        "Json: 'bool | int | float | str | list[Json] | dict[str, Json] | None': another text",
    ): _TYPES,
    ("errors.py", "_our_text: 300 <= status < 400: Lt -> LtE"): _TABLE,
    ("errors.py", "_our_text: 400 + 1"): _TABLE,
    (
        "events.py",
        "encoder: if type(brand_id) is not str and brand_id is not None: always",
    ): "what it would check needs no check: it spares the common event a call",
    ("flight.py", "Attempt.__init__: 0.0 + 1"): _SET,
    ("flight.py", "Attempt.__init__: 0 + 1"): _SET,
    ("flight.py", "Attempt.__init__: 0.0 + 1 #2"): _SET,
    ("buffer.py", "Buffer.__init__: 1 + 1"): _WAKES,
    ("buffer.py", "Buffer.__init__: 0 + 1 #11"): _WAKES,
    ("retry.py", "Backoff.__init__: 0.0 + 1 #2"): _LATER,
    ("tally.py", "FlushTicket.__init__: 0 + 1"): _SET,
    ("tally.py", "FlushTicket.__init__: 0 + 1 #2"): _SET,
    ("tally.py", "FlushTicket.__init__: 0 + 1 #5"): _SET,
    ("tally.py", "FlushTicket.__init__: 0 + 1 #6"): _SET,
    ("timers.py", "Timers.__init__: 0 + 1"): "the order alone counts, not where it begins",
    ("timers.py", "Timers.set: 1 + 1"): "the order alone counts, not how far apart",
    ("token.py", "Token.__init__: 0.0 + 1"): _LATER,
    ("token.py", "Token.__init__: 0.0 + 1 #2"): _SET,
    ("token.py", "Token.__init__: 1.0 + 1"): _SET,
    ("token.py", "Token.__init__: 0.0 + 1 #3"): _SET,
}
"""By file and name of the mutant. ``mutants.py`` reports one that is killed, or is no more."""
