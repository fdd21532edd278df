"""``masivo spool``: what lies in a spool, and how it is got out."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from masivo.cli.importing import progress
from masivo.emulator import Fault
from masivo.protocol import RejectedEvent
from masivo.spool import Spool

from .conftest import event

if TYPE_CHECKING:
    from .conftest import Ended, Shell

BOUND = 1 << 30


def spool_of(shell: Shell, key: str | None = None, url: str | None = None) -> Spool:
    """A spool in the folder ``spool``, of the emulator's key and address or others."""
    folder = shell.folder / "spool"
    folder.mkdir(mode=0o700, exist_ok=True)
    emulator = shell.emulator
    return Spool(str(folder), key or emulator.client_key, url or emulator.url, BOUND)


def encoded(n: int, **more: object) -> bytes:
    """An event as a client stores it: without its opening brace, as it has no stamp."""
    return json.dumps(event(n, **more)).encode()[1:]


def leave(
    shell: Shell, count: int, key: str | None = None, at: float = 1.75e9, url: str | None = None
) -> None:
    """Have events lie in the spool that nobody holds."""
    spool = spool_of(shell, key, url)
    for n in range(count):
        spool.append(encoded(n), at + n, True)
    spool.release()


def show(shell: Shell, *arguments: str) -> Ended:
    """Run the command, which must end well."""
    ended = shell.masivo("spool", "spool", *arguments)
    assert ended.code == 0
    return ended


def test_the_directory_may_be_that_of_the_environment(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client takes it from there, too. Without either, the message names the argument."""
    leave(shell, 2)
    monkeypatch.setenv("MASIVO_SPOOL", "spool")
    ended = shell.masivo("spool")
    assert (ended.code, ended.out) == (0, show(shell).out)
    monkeypatch.delenv("MASIVO_SPOOL")
    ended = shell.masivo("spool")
    assert ended.code == 2
    assert "give the directory of the spool, or set MASIVO_SPOOL" in ended.err


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
    assert "the oldest is from 2025-06-15 15:06 UTC" in lines[1]
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


def test_the_logs_of_an_account_are_counted_together(shell: Shell) -> None:
    """Their events, their bytes and their damage are added up; the oldest of all is shown."""
    for count, at in ((3, 1.75e9), (1, 1.75e9 - 60.0), (2, 1.75e9 + 60.0)):
        leave(shell, count, at=at)
    for segment in (shell.folder / "spool").glob("*.log"):
        segment.write_bytes(segment.read_bytes() + b"?" * 10)
    (account,) = show(shell, "--json").json()["accounts"]
    assert account["left"] == {
        "logs": 3,
        "events": 6,
        "bytes": sum(len(encoded(n)) for n in (0, 1, 2, 0, 0, 1)),
        "oldest": "2025-06-15T15:05:40.000Z",
    }
    assert account["damaged"] == 3


def test_a_newer_version(shell: Shell) -> None:
    """It says to update."""
    spool_of(shell)
    (shell.folder / "spool" / "v9-0-0-0.lock").write_bytes(b"?")
    assert show(shell).out == "1 log of a newer version of masivo: update masivo\n"


def test_an_empty_directory(shell: Shell) -> None:
    """That is no error: nothing is there."""
    spool_of(shell)
    assert show(shell).out.startswith(f"There is nothing in {shell.folder}/spool: ")
    assert show(shell, "--json").json()["accounts"] == []
    ended = show(shell, "--rejected")
    assert (ended.out, ended.err) == ("", "There is no rejected event.\n")


@pytest.mark.parametrize("option", [[], ["--rejected"], ["--export", "x.jsonl"]])
def test_what_is_no_spool(shell: Shell, option: list[str]) -> None:
    """Each message says what it is, and what to name."""
    (shell.folder / "other").mkdir()
    (shell.folder / "other" / "poetry.lock").touch()
    for name, message in {
        "missing": "there is no directory",
        "other": "is not a spool",
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
    assert sorted(shell.read("x.jsonl"), key=lambda each: str(each["n"])) == [
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
    ended = shell.masivo("spool", "spool", "--export", "-")
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_export_to_standard_output_that_does_not_fit(shell: Shell) -> None:
    """It is an error, as the directory may be deleted after a success. A reader that has read
    enough is none."""
    leave(shell, 100)
    reading, writing = os.pipe()
    os.close(reading)
    for place, code, says in (
        (os.open("/dev/full", os.O_WRONLY), 2, b"incomplete: No space left on device"),
        (writing, 0, b""),
    ):
        with shell.start("spool", "spool", "--export", "-", stdout=place) as process:
            os.close(place)
            _, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert says in err


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


# ── Sending ──────────────────────────────────────────────────────────────────────────────────


def recent() -> float:
    """A time that the API takes."""
    return time.time() - 1_000.0


def test_send(shell: Shell) -> None:
    """What was left arrives, in order for each customer, with the times of its acceptance; the
    directory is empty after."""
    leave(shell, 350, at=recent())
    ended = show(shell, "--send")
    assert ended.out == "All done: 350 events delivered, 0 rejected.\n"
    assert "--rejected" not in ended.err
    arrived = shell.emulator.events
    assert sorted(each["n"] for each in arrived) == list(range(350))
    for customer in range(7):
        numbers = [each["n"] for each in arrived if each["customer_id"] == f"c-{customer}"]
        assert numbers == sorted(numbers)
    assert list((shell.folder / "spool").iterdir()) == []
    again = show(shell, "--send")
    assert again.out.startswith(f"Nothing was left in {shell.folder}/spool for this key and ")


def test_send_shows_its_progress(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line from time to time, as an import does."""
    monkeypatch.setattr(progress, "_PLAIN_EVERY", 0.0)
    leave(shell, 250, at=time.time() - 1_000.0)
    said = show(shell, "--send", "--in-flight", "1").err
    assert "40%, 100 events, " in said
    assert "100%, 250 events, " in said


def test_send_with_a_key_file(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of the file counts, not that of the environment."""
    leave(shell, 1, at=recent())
    monkeypatch.setenv("MASIVO_API_KEY", "another-key")
    key = shell.folder / "key"
    key.write_text(shell.emulator.client_key)
    key.chmod(0o600)
    assert show(shell, "--send", "--key-file", "key").out.startswith("All done: 1 event")


def test_send_leaves_to_others_what_is_theirs(shell: Shell) -> None:
    """A log that a client holds, and one of another key."""
    held = spool_of(shell)
    held.append(encoded(0), recent(), True)
    leave(shell, 1, "another-key", recent())
    leave(shell, 2, at=recent())
    assert show(shell, "--send", "--json").json() == {
        "complete": True,
        "delivered": 2,
        "rejected": 0,
        "left": 0,
    }
    assert sorted(each["n"] for each in shell.emulator.events) == [0, 1]
    present, other = show(shell, "--json").json()["accounts"]
    assert (present["held"]["events"], present["left"]["events"]) == (1, 0)
    assert other["left"]["events"] == 1
    held.release()


def test_send_for_a_replaced_key(shell: Shell) -> None:
    """The command is named, and sends what other keys have left for the same address."""
    leave(shell, 3, "the-old-key", recent())
    command = f"masivo spool {shell.folder}/spool --send --replaced-key\n"
    assert show(shell).err.endswith(command)
    ended = show(shell, "--send", "--replaced-key")
    assert ended.out == "All done: 3 events delivered, 0 rejected.\n"
    assert [each["n"] for each in shell.emulator.events] == [0, 1, 2]
    assert list((shell.folder / "spool").iterdir()) == []


def test_send_for_a_replaced_address(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left for a mistyped address is not sent without being asked for, and the command for
    it is named; with the key replaced, too, it says both. Any spelling of the address will do."""
    wrong = "http://127.0.0.1:9/mistyped"
    leave(shell, 2, at=recent(), url=wrong)
    ended = show(shell, "--send")
    assert ended.out.startswith(f"Nothing was left in {shell.folder}/spool for this key and ")
    command = f"masivo spool {shell.folder}/spool --send --replaced-url {wrong}"
    assert show(shell).err.endswith(f"If {shell.emulator.url} replaces the other: {command}\n")
    ended = show(shell, "--send", "--replaced-url", f"{wrong.replace('http', 'HTTP')}/")
    assert ended.out == "All done: 2 events delivered, 0 rejected.\n"
    assert list((shell.folder / "spool").iterdir()) == []
    leave(shell, 1, "the-old-key", at=recent(), url=wrong)
    assert show(shell).err.endswith(
        f"masivo spool {shell.folder}/spool --send --replaced-key --replaced-url {wrong}\n"
    )
    both = ["--replaced-key", "--replaced-url", wrong]
    assert show(shell, "--send", *both).out == "All done: 1 event delivered, 0 rejected.\n"
    monkeypatch.setenv("MASIVO_BASE_URL", "nowhere")
    assert "base_url must look like" in shell.masivo("spool", "spool").err


def test_send_in_an_outage(shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    """It ends when the retries have, says why, and once how many events are left and how to try
    again; nothing is lost."""
    leave(shell, 150, at=recent())
    shell.emulator.fail(Fault(status=503), route="events", times=None)
    ended = shell.masivo("spool", "spool", "--send", "--json")
    assert ended.code == 6
    document = ended.json()
    assert document["error"]["status"] == 503
    assert (document["complete"], document["delivered"], document["left"]) == (False, 0, 150)
    assert f"150 events are still in {shell.folder}/spool" in ended.err
    assert not caplog.records  # the client's would say it once more
    shell.emulator.heal()
    assert show(shell, "--send").out.startswith("All done: 150 events")
    assert len(shell.emulator.events) == 150


def test_send_with_a_refused_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error and the exit code are those of every command."""
    leave(shell, 1, "wrong-key", recent())
    monkeypatch.setenv("MASIVO_API_KEY", "wrong-key")
    ended = shell.masivo("spool", "spool", "--send")
    assert ended.code == 3
    assert "wrong-key" not in ended.err + ended.out
    leave(shell, 1, shell.emulator.server_key, recent())
    monkeypatch.setenv("MASIVO_API_KEY", shell.emulator.server_key)
    assert shell.masivo("spool", "spool", "--send").code == 4


def test_send_without_a_server(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a failure of the network."""
    monkeypatch.setenv("MASIVO_BASE_URL", "http://127.0.0.1:9")
    folder = shell.folder / "spool"
    folder.mkdir(mode=0o700)
    spool = Spool(str(folder), shell.emulator.client_key, "http://127.0.0.1:9", BOUND)
    spool.append(encoded(0), recent(), True)
    spool.release()
    ended = shell.masivo("spool", "spool", "--send")
    assert ended.code == 5
    assert "So far: 0 events delivered, 0 rejected." in ended.out


def test_send_with_rejected_events(shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    """They are kept with their errors, and the command that prints them is named. No warning gives
    advice that is for programs."""
    spool = spool_of(shell)
    for n in range(3):
        spool.append(encoded(n, issued_at="never") if n == 1 else encoded(n), recent(), True)
    spool.release()
    shell.emulator.reject = lambda each: "no" if each["issued_at"] == "never" else None
    ended = shell.masivo("spool", "spool", "--send")
    assert ended.code == 7
    assert ended.out == "All done: 2 events delivered, 1 rejected.\n"
    assert ended.err.endswith("--rejected\n")
    assert not caplog.records
    (line,) = show(shell, "--rejected").out.splitlines()
    assert json.loads(line)["event"]["n"] == 1


@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGINT, []), (signal.SIGTERM, ["--json"])], ids=["text", "json"]
)
def test_send_interrupted(shell: Shell, number: signal.Signals, options: list[str]) -> None:
    """It ends at once; nothing is lost."""
    leave(shell, 2_000, at=recent())
    shell.emulator.fail(Fault(delay=0.2), route="events", times=None)
    with shell.start("spool", "spool", "--send", "--in-flight", "1", *options) as process:
        shell.emulator.wait_for(lambda emulator: emulator.event_count, 30)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    if options:
        assert json.loads(out)["error"]["kind"] == "Interrupted"
    else:
        assert b"So far: " in out
    assert b"Interrupted." in err
    shell.emulator.heal()
    assert show(shell, "--send").out.startswith("All done: ")
    assert {each["n"] for each in shell.emulator.events} == set(range(2_000))


def test_options_that_exclude_each_other(shell: Shell) -> None:
    """One thing at a time."""
    spool_of(shell)
    for options in (
        ["--send", "--rejected"],
        ["--send", "--export", "x"],
        ["--replaced-key"],
        ["--replaced-url", "u"],
    ):
        assert shell.masivo("spool", "spool", *options).code == 2
