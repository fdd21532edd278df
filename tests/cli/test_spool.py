"""``masivo spool``: what lies in a spool, and how it is got out."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from masivo.protocol import RejectedEvent
from masivo.spool import Spool

from .conftest import event

if TYPE_CHECKING:
    from .conftest import Ended, Shell

BOUND = 1 << 30


def spool_of(shell: Shell, key: str | None = None) -> Spool:
    """A spool in the folder ``spool``, of the emulator's key or another."""
    folder = shell.folder / "spool"
    folder.mkdir(mode=0o700, exist_ok=True)
    emulator = shell.emulator
    return Spool(str(folder), key or emulator.client_key, emulator.url, BOUND)


def encoded(n: int, **more: object) -> bytes:
    """An event as a client stores it: without its opening brace, as it has no stamp."""
    return json.dumps(event(n, **more)).encode()[1:]


def leave(shell: Shell, count: int, key: str | None = None, at: float = 1.75e9) -> None:
    """Have events lie in the spool that nobody holds."""
    spool = spool_of(shell, key)
    for n in range(count):
        spool.append(encoded(n), at + n, True)
    spool.release()


def show(shell: Shell, *arguments: str) -> Ended:
    """Run the command, which must end well."""
    ended = shell.masivo("spool", "spool", *arguments)
    assert ended.code == 0
    return ended


# ── What lies there ──────────────────────────────────────────────────────────────────────────


def test_what_was_left_and_what_is_held(shell: Shell) -> None:
    """By account: address, fingerprint, events, bytes, the oldest; never a key."""
    leave(shell, 3)
    leave(shell, 1, "another-key")
    held = spool_of(shell)
    held.append(encoded(0), 1.75e9, True)
    ended = show(shell)
    lines = ended.out.splitlines()
    assert lines[0].startswith(f"{shell.emulator.url}, account ")
    assert lines[0].endswith(", the present key")
    assert lines[1].startswith("  left: 3 events in 1 log, ")
    assert "the oldest is of 2025-06-15 15:06 UTC" in lines[1]
    assert lines[2].startswith("  held by a running client: 1 event in 1 log, ")
    assert lines[3].endswith(", another key")
    assert lines[4].startswith("  left: 1 event in 1 log, ")
    assert len(lines) == 5
    for key in (shell.emulator.client_key, "another-key"):
        assert key not in ended.out + ended.err
    held.release()
    assert "held" not in show(shell).out


def test_without_a_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked for one, as none is needed to look."""
    leave(shell, 2)
    monkeypatch.delenv("MASIVO_API_KEY")
    ended = show(shell)
    assert "left: 2 events" in ended.out
    assert "key" not in ended.out


def test_rejected_and_damaged(shell: Shell) -> None:
    """They are counted, and the command that prints rejected events is named."""
    spool = spool_of(shell)
    spool.reject([RejectedEvent(b"{}", "bad", 422, 1.0)])
    spool.append(encoded(0), 1.75e9, True)
    spool.release()
    (segment,) = (shell.folder / "spool").glob("*.log")
    segment.write_bytes(segment.read_bytes() + b"?" * 10)
    (shell.folder / "spool" / "1750000000000-0.bad").write_bytes(b"?" * 1_500)
    ended = show(shell)
    assert "damaged: 1 part that cannot be read" in ended.out
    assert "Rejected events, kept for 30 days: 1\n" in ended.out
    assert "1.5 kB in *.bad" in ended.out
    assert ended.err.endswith(f"masivo spool {shell.folder}/spool --rejected\n")


def test_json(shell: Shell) -> None:
    """The same as one object."""
    leave(shell, 3)
    (account,) = show(shell, "--json").json()["accounts"]
    assert account["base_url"] == shell.emulator.url
    assert account["present_key"] is True
    assert account["left"] == {
        "logs": 1,
        "events": 3,
        "bytes": sum(len(encoded(n)) for n in range(3)),
        "oldest": "2025-06-15T15:06:40.000Z",
    }
    assert account["held"] == {"logs": 0, "events": 0, "bytes": 0, "oldest": None}


def test_a_newer_version(shell: Shell) -> None:
    """It says to update."""
    spool_of(shell)
    (shell.folder / "spool" / "v9-0-0-0.lock").write_bytes(b"?")
    assert show(shell).out == "1 log of a newer version of masivo: update it to read\n"


def test_an_empty_directory(shell: Shell) -> None:
    """That is no error: nothing lies there."""
    spool_of(shell)
    assert show(shell).out.startswith(f"Nothing lies in {shell.folder}/spool: ")
    assert show(shell, "--json").json()["accounts"] == []


@pytest.mark.parametrize("option", [[], ["--rejected"], ["--export", "x.jsonl"]])
def test_what_is_no_spool(shell: Shell, option: list[str]) -> None:
    """Each message says what it is, and what to name."""
    (shell.folder / "other").mkdir()
    (shell.folder / "other" / "poetry.lock").touch()
    for name, message in {
        "missing": "there is no directory",
        "other": "is no spool",
        "other/poetry.lock": "is a file",
    }.items():
        ended = shell.masivo("spool", name, *option)
        assert ended.code == 2
        assert message in ended.err
        assert str(shell.folder / name) in ended.err
    assert sorted(path.name for path in shell.folder.iterdir()) == ["other"]


def test_one_of_another_user(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the user and says how to become it."""
    leave(shell, 1)

    def denied(*_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("masivo.spool.disk.os.listdir", denied)
    ended = shell.masivo("spool", "spool")
    assert (ended.code, "cannot read" in ended.err) == (2, True)
    owner = os.geteuid()
    monkeypatch.setattr("masivo.cli.spool.os.geteuid", lambda: owner + 1)
    ended = shell.masivo("spool", "spool")
    assert ended.code == 2
    assert f"belongs to another user (uid {owner}, you are {owner + 1})" in ended.err
    assert f"sudo -u '#{owner}'" in ended.err


# ── Export ───────────────────────────────────────────────────────────────────────────────────


def test_export(shell: Shell) -> None:
    """All events that are not removed, held ones too, each with the time of its acceptance; the
    file is for its owner alone, and the spool is as it was."""
    leave(shell, 2)
    held = spool_of(shell)
    gone = held.append(encoded(7), 1.75e9, True)
    held.append(json.dumps(event(8, issued_at="2025-01-01T00:00:00Z")).encode(), 1.75e9, False)
    assert held.own is not None
    held.own.remove([gone])
    before = show(shell, "--json").json()
    ended = show(shell, "--export", "x.jsonl")
    assert ended.out == "3 events written to x.jsonl.\n"
    assert shell.read("x.jsonl") == [
        event(0, issued_at="2025-06-15T15:06:40.000Z"),
        event(1, issued_at="2025-06-15T15:06:41.000Z"),
        event(8, issued_at="2025-01-01T00:00:00Z"),
    ]
    assert stat.S_IMODE((shell.folder / "x.jsonl").stat().st_mode) == 0o600
    assert show(shell, "--json").json() == before
    document = show(shell, "--export", "y.jsonl", "--json").json()
    assert document == {"complete": True, "events": 3, "file": "y.jsonl"}
    held.release()


def test_an_export_is_imported(shell: Shell) -> None:
    """As it is."""
    leave(shell, 250, at=time.time() - 1_000.0)
    show(shell, "--export", "x.jsonl")
    assert shell.masivo("import", "x.jsonl").code == 0
    assert shell.emulator.events == shell.read("x.jsonl")


def test_export_to_standard_output(shell: Shell) -> None:
    """Nothing else is printed there."""
    leave(shell, 2)
    ended = shell.run("spool", "spool", "--export", "-")
    assert ended.code == 0
    assert [json.loads(line)["n"] for line in ended.out.splitlines()] == [0, 1]


def test_export_overwrites_nothing(shell: Shell) -> None:
    """A file that is there is an error, and so is one that cannot be made."""
    leave(shell, 1)
    shell.write("x.jsonl", "mine")
    for name, message in {"x.jsonl": "exists already", "no/x.jsonl": "cannot write"}.items():
        ended = shell.masivo("spool", "spool", "--export", name)
        assert (ended.code, message in ended.err) == (2, True)
    assert (shell.folder / "x.jsonl").read_text() == "mine\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_export_that_does_not_fit(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that the file is incomplete."""
    leave(shell, 100)
    real = os.open

    def full(name: str, flags: int, mode: int = 0o777) -> int:
        is_new = flags & os.O_EXCL
        return real("/dev/full", os.O_WRONLY) if is_new else real(name, flags, mode)

    monkeypatch.setattr("masivo.cli.spool.os.open", full)
    ended = shell.masivo("spool", "spool", "--export", "x.jsonl")
    assert ended.code == 2
    assert "x.jsonl is incomplete: No space left on device" in ended.err


def test_rejected_events_are_imported_again(shell: Shell) -> None:
    """As they are printed, after they were corrected; errors and times are beside them."""
    spool = spool_of(shell)
    spool.reject([RejectedEvent(json.dumps(event(n)).encode(), "no", 422, 5.0) for n in range(2)])
    ended = show(shell, "--rejected")
    first, second = map(json.loads, ended.out.splitlines())
    assert first["rejected"] == {"reason": "no", "status": 422, "at": 5.0}
    assert second["event"] == event(1)
    assert show(shell, "--rejected", "--export", "r.jsonl").out == (
        "2 rejected events written to r.jsonl.\n"
    )
    assert (shell.folder / "r.jsonl").read_text() == ended.out
    assert shell.masivo("import", "r.jsonl").code == 0
    assert [each["n"] for each in shell.emulator.events] == [0, 1]
