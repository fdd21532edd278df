"""The rules for events that the vendor documents: their fields, types and age.

The API decides. These rules are for a dry run, and for the suspicion that a whole file is wrong.
"""

from __future__ import annotations

import time

from masivo._protocol.json import decode_encoded, encode

__all__ = ["problem_of"]

_STAMP = "; an event without issued_at gets the time at which it is sent"
_CURES = {
    "issued_at must": f", such as 2026-01-05T10:00:00Z{_STAMP}",
    "issued_at is": _STAMP,
}


def problem_of(event: object) -> str | None:
    """Return why the API would reject a valid event, or None."""
    from masivo._protocol.wire.schema import problem_with  # few runs need it

    sent = decode_encoded(encode(event))
    problem = problem_with(sent, now=time.time(), reserved=frozenset())
    if problem is None:
        return None
    problem = problem.removeprefix(".")
    cures = (cure for start, cure in _CURES.items() if problem.startswith(start))
    return f"the API would reject it: {problem}{next(cures, '')}"
