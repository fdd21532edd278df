"""A survey tells what lies in a directory, and changes nothing."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from masivo.protocol import Note, RejectedEvent
from masivo.spool.disk import Folder
from masivo.spool.survey import Survey

from .conftest import KEY, URL
from .programs import start
from .reading import bodies, files, listing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from masivo.spool import Spool


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file, with its size and the time of its last change."""
    found = ((path.name, path.stat()) for path in folder.iterdir())
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found}


def test_a_log_that_is_held(folder: Path, spool: Spool) -> None:
    """It is read beside its owner, over all its segments, less what is removed."""
    positions = [spool.append(b"%03d" % n, 1_000.0 + n, True) for n in range(100)]
    spool.tend()
    assert spool.own is not None
    spool.own.remove(positions[:40])
    before = state(folder)
    (log,) = Survey(str(folder)).logs()
    assert (log.held, log.events, log.bytes, log.oldest) == (True, 60, 180, 1_040.0)
    assert (log.base_url, log.damaged) == (URL, 0)
    assert log.account is not None
    assert log.account in log.name
    assert KEY not in repr(log)
    assert [each.event for each in Survey(str(folder)).events()] == [
        b"%03d" % n for n in range(40, 100)
    ]
    assert state(folder) == before


def test_a_log_that_was_left(folder: Path, make: Callable[..., Spool]) -> None:
    """By a killed process, or by one that has released it; an adopter finds all of it after."""
    process = start(
        folder,
        """
        spool = make(segment=500)
        for n in range(50):
            spool.append(b"%03d" % n, 1_000.0, n % 2 == 0)
            spool.tend()
        spool.own.note(Note([3, 4], "key", b""))
        print("ready", flush=True)
        signal.pause()
        """,
    )
    process.stdout.readline()
    survey = Survey(str(folder))
    assert [log.held for log in survey.logs()] == [True]
    process.kill()
    process.communicate()
    before = state(folder)
    (log,) = survey.logs()
    assert (log.held, log.events) == (False, 50)
    assert log.is_of(KEY)
    assert not log.is_of("another")
    assert state(folder) == before
    assert [body for each in make().adopt() for body in bodies(each)] == [
        b"%03d" % n for n in range(50)
    ]


def test_it_leaves_a_log_to_be_adopted(folder: Path, make: Callable[..., Spool]) -> None:
    """Also while somebody is about to survey: between two logs nothing is locked."""
    for key in (KEY, "another"):
        spool = make(key)
        spool.append(b"x", 1.0, True)
        spool.release()
    logs = Survey(str(folder)).logs()
    next(logs)
    assert len(list(make().adopt())) == len(list(make("another").adopt())) == 1
    assert [log.held for log in logs] == [True]


def test_damage_is_counted_and_left_where_it_is(folder: Path, make: Callable[..., Spool]) -> None:
    """The adopter keeps it."""
    spool = make()
    for n in range(10):
        spool.append(b"%03d" % n, 1.0, True)
    spool.release()
    (path,) = files(folder, "log")
    data = bytearray(path.read_bytes())
    data[100:110] = b"?" * 10
    path.write_bytes(data)
    before = state(folder)
    (log,) = Survey(str(folder)).logs()
    assert (log.events, log.damaged) == (9, 1)
    assert Survey(str(folder)).damaged() == (0, 0)
    assert state(folder) == before
    [bodies(each) for each in make().adopt()]
    assert Survey(str(folder)).damaged()[0] == 1


def test_a_log_without_its_lock_file(folder: Path, make: Callable[..., Spool]) -> None:
    """It was left; its address is not known any more, or cannot be read."""
    spool = make()
    spool.append(b"x", 1.0, True)
    spool.release()
    (lock,) = files(folder, "lock")
    for damage in (lambda: lock.write_bytes(b"{"), lock.unlink):
        damage()
        (log,) = Survey(str(folder)).logs()
        assert (log.held, log.events, log.base_url) == (False, 1, None)
        assert not log.is_of(KEY)


def test_the_draft_of_a_lock_is_no_log(folder: Path, spool: Spool) -> None:
    """A process that was killed as it began a log has left it."""
    spool.append(b"event", 1.0, True)
    (lock,) = files(folder, "lock")
    (folder / f".{lock.stem}8.lock").write_bytes(b"")
    assert [each.name for each in Survey(str(folder)).logs()] == [lock.stem]


def test_a_log_of_a_newer_version(folder: Path) -> None:
    """It is named, and not read."""
    (folder / "v9-0123456789abcdef-1-x.lock").write_bytes(b'{"version":9}')
    (folder / "v9-0123456789abcdef-1-x.000001.log").write_bytes(b"?")
    (log,) = Survey(str(folder)).logs()
    assert (log.account, log.events, log.damaged) == (None, 0, 0)


def test_rejected_events(folder: Path, spool: Spool) -> None:
    """Whole lines, the oldest file first; one that is being written is left out."""
    for n in range(3):
        spool.reject([RejectedEvent(b'{"n":%d}' % n, "bad", 422, float(n))])
    (path,) = folder.glob("*.rejected.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"rejected":')
    (folder / "0000000000001-older.rejected.jsonl").write_bytes(b"{}\n")
    assert list(Survey(str(folder)).rejected()) == [b"{}", *whole.splitlines()]


def test_files_of_others(folder: Path, spool: Spool) -> None:
    """They do not count; a directory with nothing else is no spool."""
    survey = Survey(str(folder))
    assert survey.is_spool()
    for name in ("poetry.lock", "app.000001.log", "x.bad", "y.rejected.jsonl"):
        (folder / name).write_bytes(b"theirs\n")
    assert not survey.is_spool()
    assert (list(survey.logs()), list(survey.rejected())) == ([], [])
    assert survey.damaged() == (0, 0)
    spool.append(b"x", 1.0, True)
    assert survey.is_spool()
    assert len(list(survey.logs())) == 1


def test_a_directory_that_is_not_there(folder: Path) -> None:
    """It is not made."""
    survey = Survey(str(folder / "missing"))
    for look in (survey.is_spool, survey.damaged, lambda: list(survey.logs())):
        with pytest.raises(FileNotFoundError):
            look()
    assert listing(folder) == []


def fail_to_read(ending: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have reads of files whose names end so fail with this number of an error."""
    read = Folder.read

    def look(disk: Folder, name: str, offset: int, size: int) -> bytes:
        if name.endswith(ending):
            raise OSError(number, os.strerror(number), name)
        return read(disk, name, offset, size)

    monkeypatch.setattr(Folder, "read", look)


def test_a_file_that_cannot_be_read(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment counts as damaged; a lock or notes are an error."""
    spool = make()
    spool.append(b"x", 1.0, True)
    spool.release()
    fail_to_read(".log", errno.EACCES, monkeypatch)
    (log,) = Survey(str(folder)).logs()
    assert (log.events, log.damaged) == (0, 1)
    fail_to_read(".lock", errno.EACCES, monkeypatch)
    with pytest.raises(PermissionError):
        list(Survey(str(folder)).logs())


def test_a_process_that_cannot_read_now(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it has no descriptor left, that is an error: a log does not look damaged."""
    spool = make()
    spool.append(b"x", 1.0, True)
    spool.release()
    fail_to_read(".log", errno.EMFILE, monkeypatch)
    survey = Survey(str(folder))
    for seen in (survey.logs, survey.events):
        with pytest.raises(OSError, match="Too many open files"):
            list(seen())


def test_a_note_changes_nothing(folder: Path, spool: Spool) -> None:
    """Events of a noted batch are on disk as before."""
    positions = [spool.append(b"%d" % n, 1.0, True) for n in range(3)]
    assert spool.own is not None
    spool.own.note(Note(positions, "key", b""))
    (log,) = Survey(str(folder)).logs()
    assert log.events == 3
