"""Where the key comes from, and where it never may."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from .conftest import LIMIT, PROGRAM

if TYPE_CHECKING:
    from .conftest import Shell


def in_terminal(shell: Shell, typed: bytes, *arguments: str, **environ: str) -> tuple[int, str]:
    """Run the program in a terminal and type something at its prompt; exit code and screen."""
    variables = {**shell.environ(), "TERM": "xterm", **environ}
    if "MASIVO_API_KEY" not in environ:
        variables.pop("MASIVO_API_KEY")
    terminal, its_end = os.openpty()
    program = [str(PROGRAM), *arguments]
    # In a process of its own: a fork beside the emulator's threads could hang.
    attached = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
    child = subprocess.Popen(
        [sys.executable, "-c", attached, *program],
        cwd=shell.folder,
        env=variables,
        stdin=its_end,
    )
    os.close(its_end)
    screen, until = b"", time.monotonic() + LIMIT
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            shown = os.read(terminal, 65_536)
        except OSError:  # the program has ended
            break
        screen += shown
        if typed and b"key (it is not shown): " in screen:
            os.write(terminal, typed)
            typed = b""
    os.close(terminal)
    return child.wait(LIMIT), screen.decode()


def test_prompt(shell: Shell) -> None:
    """On a terminal a prompt asks for the key, which is not shown."""
    key = shell.emulator.client_key
    code, screen = in_terminal(shell, key.encode() + b"\n", "check")
    assert code == 0, screen
    assert "CLIENT key" in screen
    assert key not in screen
    assert [each.status for each in shell.emulator.authorizations] == [200]


@pytest.mark.parametrize(("typed", "code"), [(b"\n", 2), (b"\x04", 2), (b"\x03", 130)])
def test_prompt_left_alone(shell: Shell, typed: bytes, code: int) -> None:
    """No key, the end of input, and Ctrl-C at the prompt end the command in order."""
    ended, screen = in_terminal(shell, typed, "check")
    assert ended == code, screen
    assert "Traceback" not in screen


def test_no_prompt_without_a_terminal(shell: Shell) -> None:
    """Without key and terminal, an error says what to set."""
    ended = shell.run("check", MASIVO_API_KEY="")
    assert ended.code == 2
    assert "MASIVO_API_KEY" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--api-key", "s3cret-key"),
        ("check", "--api-key=s3cret-key"),
        ("--api-key", "s3cret-key", "check"),
        ("send", "T", "--customer", "c", "--no-brand", "--token", "s3cret-key"),
        ("import", "file", "--key", "s3cret-key"),
    ],
)
def test_never_as_an_argument(shell: Shell, arguments: tuple[str, ...]) -> None:
    """A key as an argument is an error that says why and does not show it."""
    ended = shell.masivo(*arguments)
    assert ended.code == 2
    assert "history" in ended.err
    assert "s3cret" not in ended.err + ended.out
    assert not shell.emulator.requests


def test_key_file(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that only the user can read may hold the key."""
    monkeypatch.setenv("MASIVO_API_KEY", "")
    path = shell.folder / "key"
    path.write_text(shell.emulator.client_key + "\n")
    path.chmod(0o600)
    ended = shell.masivo("check", "--key-file", "key")
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_key_file_of_any_editor(shell: Shell, mark: str, ending: str) -> None:
    """A byte order mark and a line end are no part of the key."""
    path = shell.folder / "key"
    path.touch(0o600)
    path.write_bytes(f"{mark}{shell.emulator.client_key}{ending}".encode())
    assert shell.masivo("check", "--key-file", "key").code == 0


@pytest.mark.parametrize("mode", [0o444, 0o440, 0o644])
def test_key_file_on_a_read_only_mount(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """A secret that an orchestrator mounts is taken with the mode that it has."""
    path = shell.folder / "key"
    path.write_text(shell.emulator.client_key)
    path.chmod(mode)

    def read_only(number: int) -> SimpleNamespace:
        assert os.path.samestat(os.fstat(number), path.stat())
        return SimpleNamespace(f_flag=os.ST_RDONLY)

    monkeypatch.setattr(os, "fstatvfs", read_only)
    assert shell.masivo("check", "--key-file", "key").code == 0


@pytest.mark.parametrize(("mode", "code"), [(0o640, 0), (0o440, 0), (0o644, 2), (0o604, 2)])
def test_key_file_of_another_owner(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, mode: int, code: int
) -> None:
    """It is taken if not everybody can read it; its group is how we can. Else the error says how to
    get a file of one's own, as its mode is not ours to change."""
    path = shell.folder / "a key"
    path.write_text(shell.emulator.client_key)
    path.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    ended = shell.masivo("check", "--key-file", "a key")
    assert ended.code == code
    assert ("install -m 600 'a key'" in ended.err) == (code == 2)
    assert "chmod" not in ended.err


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_key_file_of_everybody(shell: Shell, mode: int) -> None:
    """A file that others can read is an error that says how to fix it."""
    path = shell.folder / "key"
    path.write_text(shell.emulator.client_key)
    path.chmod(mode)
    ended = shell.masivo("check", "--key-file", "key")
    assert ended.code == 2
    assert "chmod 600 key" in ended.err
    assert shell.emulator.client_key not in ended.err
    assert not shell.emulator.requests


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\xff\xfe", "UTF-8"),
        (None, "No such file"),
        (b"MASIVO_API_KEY=s3cret", "it should hold the CLIENT key, and nothing else"),
    ],
)
def test_key_file_of_no_use(shell: Shell, content: bytes | None, said: str) -> None:
    """A file without a key in it is an error that names it."""
    path = shell.folder / "key"
    if content is not None:
        path.touch(0o600)
        path.write_bytes(content)
    ended = shell.masivo("check", "--key-file", "key")
    assert ended.code == 2
    assert said in ended.err
    assert "s3cret" not in ended.err


def test_disabled(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MASIVO_DISABLED is set, a command that sends says so, and does not feign success."""
    monkeypatch.setenv("MASIVO_DISABLED", "1")
    ended = shell.masivo("send", "T", "--customer", "c", "--no-brand")
    assert ended.code == 2
    assert "MASIVO_DISABLED" in ended.err
