"""Rejected events are kept 30 days, within a bound."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

from masivo.protocol import RejectedEvent
from masivo.spool.disk import Folder
from masivo.spool.rejected import BAD, RejectedFiles, kept_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from masivo.spool import Spool

DAY = 86_400.0
NOW = 1.7e9


def rejected(n: int) -> RejectedEvent:
    """A rejected event."""
    return RejectedEvent(b'{"n":%d,"type":"X"}' % n, "it is bad", 422, NOW + n)


def lines(folder: Path) -> list[int]:
    """The numbers of the events that are there."""
    found: list[int] = []
    for path in sorted(folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found += [json.loads(line)["event"]["n"] for line in path.read_text().splitlines()]
    return found


def test_events_are_kept_with_error_and_time(folder: Path) -> None:
    """As JSON Lines that ``masivo import`` takes."""
    files = RejectedFiles(Folder(str(folder)), 10_000)
    assert files.add([rejected(1), rejected(2)], NOW) == 0
    (path,) = folder.iterdir()
    first, _ = map(json.loads, path.read_text().splitlines())
    assert first == {
        "rejected": {"reason": "it is bad", "status": 422, "at": NOW + 1},
        "event": {"n": 1, "type": "X"},
    }


def test_the_oldest_make_way(folder: Path) -> None:
    """Past the bound, and they are counted."""
    files = RejectedFiles(Folder(str(folder)), 10_000)
    gone = 0
    for n in range(1_000):
        gone += files.add([rejected(n)], NOW + n / 100)
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000 + 100
    assert lines(folder) == list(range(gone, 1_000))
    assert len(lines(folder)) > 70
    assert len([*folder.iterdir()]) < 15  # each file holds several


def test_they_make_way_for_later_events_alone(folder: Path, make: Callable[..., Spool]) -> None:
    """Not for a client whose bound is smaller, which would tell nobody."""
    first, second = make(), make(max_bytes=10_000)
    assert first.reject([rejected(n) for n in range(100)]) == 0
    assert second.tend()
    assert lines(folder) == list(range(100))
    assert second.reject([rejected(100)]) == 100
    assert lines(folder) == [100]


def test_events_go_after_their_time(folder: Path) -> None:
    """After 30 days, at most a day later, and not before; nobody counts them."""
    files = RejectedFiles(Folder(str(folder)), 1_000_000)
    for day in range(40):
        assert files.add([rejected(day)], NOW + day * DAY) == 0
        kept = lines(folder)
        assert set(range(max(0, day - 30), day + 1)) <= set(kept)
        assert min(kept) >= day - 32


def test_damaged_parts_go_the_same_way(folder: Path) -> None:
    """They count for the bound, but are no events; files of others stay."""
    (folder / kept_file(NOW, BAD)).write_bytes(b"x\n" * 4_000)
    (folder / "theirs.bad").write_bytes(b"x" * 20_000)
    files = RejectedFiles(Folder(str(folder)), 10_000)
    assert files.add([rejected(n) for n in range(30)], NOW + 1) == 0
    assert {path.name[-6:] for path in folder.iterdir()} == {".jsonl", "rs.bad"}
    (folder / kept_file(NOW, BAD)).write_bytes(b"x")
    assert files.clean(NOW + 32 * DAY) == 0
    assert [path.name for path in folder.iterdir()] == ["theirs.bad"]


def test_several_processes_keep_files_of_their_own(folder: Path) -> None:
    """The bound is for all of them together."""
    one = RejectedFiles(Folder(str(folder)), 10_000)
    two = RejectedFiles(Folder(str(folder)), 10_000)
    for n in range(500):
        one.add([rejected(2 * n)], NOW + n)
        two.add([rejected(2 * n + 1)], NOW + n)
    assert len(lines(folder)) > 70
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 11_000
    assert {998, 999} <= set(lines(folder))
