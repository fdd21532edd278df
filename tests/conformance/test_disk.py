"""The stores in memory keep the promises of ``masivo.protocol.Store`` and ``StoredLog``."""

from __future__ import annotations

import pytest

from masivo.protocol import Note, StoreError
from masivo.testing.conformance import MemoryDisk, MemoryLog, MemoryStore


def filled(disk: MemoryDisk, *numbers: int) -> tuple[MemoryStore, list[int]]:
    """A store with events of these numbers, and their positions."""
    store = disk.store("account")
    return store, [store.append(b'{"n":%d}' % n, float(n), certain=True) for n in numbers]


def adopted(disk: MemoryDisk) -> MemoryLog:
    """The one log that nobody holds."""
    (log,) = disk.store("account").adopt()
    return log


def test_a_log_is_read_in_windows() -> None:
    """Of at most so many events and bytes, but one event at least."""
    store, positions = filled(MemoryDisk(), 1, 2, 3)
    log = store.own
    assert log is not None
    first = log.read(None, 2, 1000)
    second = log.read(first.after, 2, 1)
    assert [each.position for each in first.events + second.events] == positions
    assert (first.end, second.end) == (False, True)
    assert len(log.read(None, 3, 1).events) == 1


def test_a_note_counts_while_it_is_the_last_of_all_its_events() -> None:
    """Not once an event of it is removed, or noted again."""
    disk = MemoryDisk()
    store, (a, b, c, d) = filled(disk, 1, 2, 3, 4)
    assert store.own is not None
    for positions, key in (([a, b], "one"), ([b], "two"), ([c, d], "three")):
        store.own.note(Note(positions, key, b""))
    store.own.remove([d])
    store.crash()
    assert [each.note.key for each in adopted(disk).noted()] == ["two"]


def test_a_crashed_client_changes_nothing_more() -> None:
    """Its log is another's."""
    disk = MemoryDisk()
    store, (position, _) = filled(disk, 1, 2)
    log = store.own
    assert log is not None
    store.crash()
    log.remove([position])
    store.release()
    with pytest.raises(StoreError):
        store.append(b'{"n":3}', 3.0, certain=True)
    assert adopted(disk).left()[0] == 2


def test_a_log_is_adopted_once_by_clients_of_its_account() -> None:
    """While it is held it is nobody else's; what is of another account is counted."""
    disk = MemoryDisk()
    store, _ = filled(disk, 1)
    assert list(disk.store("account").adopt()) == []
    store.release()
    stranger = disk.store("other")
    assert (list(stranger.adopt()), stranger.strangers) == ([], 1)
    log = adopted(disk)
    assert list(disk.store("account").adopt()) == []
    log.remove([each.position for each in log.read(None, 9, 999).events])
    log.release()
    assert disk.logs == []
