"""The bodies of records: the events, the note or the removal that a record holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from masivo.protocol import Note, Stored

from .ranges import Ranges, positions_of, runs_of
from .records import CERTAIN, GROUP_CERTAIN, GROUP_UNCERTAIN, NOTE, REMOVAL, UNCERTAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import Record

__all__ = ["events_in", "note_or_removal_in", "packed_group", "packed_note", "packed_removal"]

_pack: Final = msgspec.msgpack.encode
_unpack_note: Final = msgspec.msgpack.Decoder(tuple[list[int], str, bytes]).decode
_unpack_removal: Final = msgspec.msgpack.Decoder(list[int]).decode
_unpack_group: Final = msgspec.msgpack.Decoder(tuple[list[int], list[bytes]]).decode


def packed_group(positions: Sequence[int], events: Sequence[bytes]) -> bytes:
    """The body of a record of events that are stored together."""
    return _pack((runs_of(positions), events))


def packed_note(note: Note) -> bytes:
    """The body of a record of a note."""
    return _pack((runs_of(note.positions), note.key, note.stamps))


def packed_removal(positions: Ranges) -> bytes:
    """The body of a record of a removal."""
    return _pack(positions.flat())


def events_in(record: Record) -> list[Stored]:
    """The events of a record; none if it is of another kind, or of a newer form."""
    kind, at = record.kind, record.at
    if kind in (CERTAIN, UNCERTAIN):
        return [Stored(record.position, record.body, at, kind == CERTAIN)]
    if kind not in (GROUP_CERTAIN, GROUP_UNCERTAIN):
        return []
    try:
        runs, events = _unpack_group(record.body)
        pairs = zip(positions_of(runs), events, strict=True)
        return [Stored(position, event, at, kind == GROUP_CERTAIN) for position, event in pairs]
    except (msgspec.MsgspecError, ValueError):
        return []


def note_or_removal_in(record: Record) -> Note | Ranges | None:
    """The note of a record, or the positions of a removal; None if it is of another kind, or of a
    newer form."""
    try:
        if record.kind == NOTE:
            runs, key, stamps = _unpack_note(record.body)
            return Note(positions_of(runs), key, stamps)
        if record.kind == REMOVAL:
            return Ranges(_unpack_removal(record.body))
    except (msgspec.MsgspecError, ValueError):
        pass
    return None
