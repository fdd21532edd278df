"""Output on terminals and pipes of all kinds."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from typing import TYPE_CHECKING

import pytest
from processes import Streams

from masivo.cli.importing import progress
from masivo.emulator import Fault

from .conftest import LIMIT, PROGRAM, event

if TYPE_CHECKING:
    from .conftest import Shell


def screen(shell: Shell, width: int, *arguments: str, **environ: str) -> str:
    """Run the program with its stderr on a terminal of this width; what was written there."""
    master, slave = os.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    variables = shell.environ(**{"TERM": "xterm", **environ})
    variables.pop("COLUMNS", None)  # it would count more than the terminal's own width
    with shell.start(*arguments, environ=variables, stderr=slave) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                written += os.read(master, 65_536)
            except OSError:  # the program has ended
                break
        process.wait(LIMIT)
    os.close(master)
    return written.decode()


def plain(text: str) -> str:
    """A text without what moves the cursor and sets colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("width", [20, 80])
def test_progress(shell: Shell, width: int) -> None:
    """On a terminal of any width, share, count, rate and time left fit into one line."""
    shell.write("f.jsonl", *(event(n) for n in range(600)))
    shell.emulator.fail(Fault(delay=0.12), route="events", times=None)
    written = screen(shell, width, "import", "f.jsonl")
    lines = [line for line in re.split(r"[\r\n]+", plain(written)) if line.strip()]
    assert lines
    assert max(map(len, lines)) <= width
    assert any("%" in line for line in lines)
    if width >= 80:
        assert any(re.search(r"\d+% +\d+ events +[\d,]+/s +0:0\d left", each) for each in lines)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")  # the cursor is back


def test_a_bar_shows_the_share_that_is_read() -> None:
    """Where the size is not known there is no share to show."""
    for size, percentage in ((200, 50.0), (None, 0.0)):
        bar = progress._Bar(progress._Rates(size), known=size is not None)
        bar.update(progress.Sample(1, 0, 100))
        bar.close()
        (task,) = bar._progress.tasks
        assert task.percentage == percentage
        assert (task.total is None) is (size is None)


def test_no_time_is_promised_while_nothing_has_an_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has been read says nothing of how long the rest will take."""
    times = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr("masivo.cli.importing.progress.time.monotonic", lambda: next(times))
    rates = progress._Rates(1000)
    for delivered, position in ((0, 0), (0, 500)):
        rates.add(progress.Sample(delivered, 0, position))
    assert rates.texts() == ["50%", "0 events", "0/s"]
    rates.add(progress.Sample(10, 0, 500))
    assert rates.texts() == ["50%", "10 events", "5/s", "0:02 left"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599, "59:59"), (3660, "1:01:00")],
)
def test_the_time_left_is_shown_as_on_a_clock(seconds: float, text: str) -> None:
    """Minutes and seconds, with the hours if there are any."""
    assert progress._clock(seconds) == text


def test_no_color(shell: Shell) -> None:
    """NO_COLOR is heeded, on errors and on the bar."""
    shell.write("f.jsonl", event(1))
    for arguments in (("import", "f.jsonl"), ("import", "nofile")):
        assert not re.search(r"\x1b\[[0-9;]*m", screen(shell, 80, *arguments, NO_COLOR="1"))
    assert "\x1b[1;31merror:" in screen(shell, 80, "import", "nofile")


def test_a_dumb_terminal(shell: Shell) -> None:
    """Where a line cannot be drawn anew, nothing is."""
    shell.write("f.jsonl", event(1))
    assert "\x1b" not in screen(shell, 80, "import", "f.jsonl", TERM="dumb")


def test_without_a_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a plain line now and then says how far it is."""
    monkeypatch.setattr("masivo.cli.importing.progress._PLAIN_EVERY", 0.0)
    shell.write("f.jsonl", *(event(n) for n in range(300)))
    ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 0
    assert "\x1b" not in ended.err
    assert re.search(r"^\d+%, [12]00 events, [\d,]+/s", ended.err, re.MULTILINE)


def test_a_closed_output(shell: Shell) -> None:
    """An import whose output is closed runs to its end; so does a dry run."""
    shell.write("f.jsonl", *(event(n) for n in range(300)))
    shell.write("bad.jsonl", *({"n": n} for n in range(3_000)))
    for arguments, code in (
        (("import", "bad.jsonl", "--dry-run"), 7),
        (("import", "f.jsonl"), 0),
        (("check",), 0),
    ):
        reading, writing = os.pipe()
        os.close(reading)
        with shell.start(*arguments, stdout=writing) as process:
            os.close(writing)
            _, err = process.communicate(timeout=LIMIT)
        assert (process.returncode, err) == (code, b""), arguments
    assert shell.emulator.event_count == 300


def test_closed_errors(shell: Shell) -> None:
    """Neither does a closed stderr end an import."""
    shell.write("f.jsonl", *(event(n) for n in range(300)), "{bad")
    reading, writing = os.pipe()
    os.close(reading)
    with shell.start("import", "f.jsonl", stderr=writing) as process:
        os.close(writing)
        out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 7
    assert b"300 events delivered, 1 rejected" in out


def in_shell(shell: Shell, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a shell in which ``masivo`` is the program."""
    return subprocess.run(
        ["/bin/sh", "-c", f'masivo() {{ "{PROGRAM}" "$@"; }}\n{script}'],
        cwd=shell.folder,
        env=shell.environ(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.parametrize(
    "closed",
    [*(pytest.param(one, marks=pytest.mark.full) for one in (">&-", "2>&-")), "<&- >&- 2>&-"],
)
def test_a_stream_that_is_not_there(shell: Shell, closed: str) -> None:
    """A standard stream that is closed counts as the null device, for every command."""
    shell.write("f.jsonl", *(event(n) for n in range(300)), "{bad")
    for command, code in (
        ("import f.jsonl", 7),
        ("send T --customer c --no-brand", 0),
        ("emulator --nonsense" if "<" in closed else "check --nonsense", 2),
    ):
        done = in_shell(shell, f"masivo {command} {closed}")
        assert done.returncode == code, (command, done.stderr)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
    assert shell.emulator.event_count == 301
    assert len(shell.read("f.jsonl.rejected.jsonl")) == 1


def test_standard_input_that_is_not_there(shell: Shell) -> None:
    """An import of a closed standard input is one of no lines."""
    done = in_shell(shell, "masivo import - <&-")
    assert (done.returncode, done.stdout) == (0, "All done: 0 events delivered, 0 rejected.\n")


@pytest.mark.parametrize("full", ["stdout", pytest.param("stderr", marks=pytest.mark.full)])
def test_a_full_disk(shell: Shell, full: str) -> None:
    """Output that cannot be written is dropped; the exit code is that of the work."""
    shell.write("f.jsonl", *(event(n) for n in range(300)), "{bad")
    for command, code in (
        ("import f.jsonl", 7),
        ("import f.jsonl --resume --json", 7),
        ("nonsense", 2),
        ("--help", 0),
    ):
        with open("/dev/full", "wb") as disk:  # noqa: PTH123 (a device)
            place = disk.fileno()
            given = Streams(stdout=place) if full == "stdout" else Streams(stderr=place)
            with shell.start(*command.split(), **given) as process:
                out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == code, (command, err)
        assert b"Traceback" not in out + err
        assert b"Exception ignored" not in out + err
    assert shell.emulator.event_count == 300


def test_the_terminal_goes_away(shell: Shell) -> None:
    """An import whose terminal goes away ends as it would have: nothing is sent twice by a resumed
    one, and the exit code is that of the work."""
    shell.write("f.jsonl", *(event(n) for n in range(1_000)))
    shell.emulator.fail(Fault(delay=0.05), route="events", times=None)
    master, slave = os.openpty()
    with subprocess.Popen(
        [str(PROGRAM), "import", "f.jsonl"],
        cwd=shell.folder,
        env=shell.environ(TERM="xterm"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ) as process:
        os.close(slave)
        shell.emulator.wait_for(lambda emulator: emulator.event_count >= 200, timeout=LIMIT)
        os.close(master)
        assert process.wait(LIMIT) == 0
    assert [each["n"] for each in shell.emulator.events] == list(range(1_000))


def test_an_output_that_does_not_block(shell: Shell) -> None:
    """Where another program has made the output non-blocking, it is waited for."""
    shell.write("bad.jsonl", *({"n": n} for n in range(5_000)))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(
        [str(PROGRAM), "import", "bad.jsonl", "--dry-run"],
        cwd=shell.folder,
        env=shell.environ(),
        stdout=writing,
    ) as process:
        os.close(writing)
        with os.fdopen(reading) as output:
            assert len(output.readlines()) == 5_001
        assert process.wait(LIMIT) == 7


def test_an_output_that_is_no_unicode(shell: Shell) -> None:
    """A terminal that cannot show a character gets its number, not a traceback."""
    shell.write("g.csv", "customer_id:number", "Zoë→")
    done = subprocess.run(
        [str(PROGRAM), "import", "g.csv", "--dry-run", "-d", "type=T", "--no-brand"],
        cwd=shell.folder,
        env=shell.environ(PYTHONIOENCODING="ascii"),
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 7
    assert b"Zo\\xeb\\u2192" in done.stdout


def test_a_command_loads_what_it_needs() -> None:
    """Neither the bar nor the emulator is loaded for commands without one."""
    code = (
        "import sys, masivo.cli.app; print(*{'rich', 'httpx', 'masivo.emulator'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=LIMIT, check=True
    )
    assert done.stdout == b"\n"
