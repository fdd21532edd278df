"""A reader who does what a page says: saves its files, runs its programs, types its commands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .blocks import Block, Page

__all__ = ["STAND_INS", "Reader", "pattern"]

LIMIT = 120.0
"""Seconds after which something that a page says counts as hanging."""

STRICT = "import warnings; warnings.simplefilter('error'); del warnings\n"
"""Goes before a program: its warnings are errors."""

PORTS = ("8000", "8001")
"""The ports that pages name for servers of the reader's own. Each is exchanged for a free one, the
only thing that is not run as it stands."""


FILLED_IN = r"^export (\w+)=\S*(?:…|:8310/)\S*$"
"""What is exchanged for what the emulator printed: its default port may be in use."""


def pattern(shown: str) -> re.Pattern[str]:
    """What output that a page shows stands for: ``…`` is any text within a line; a line with
    nothing else is any number of lines."""
    lines = [
        r"(?:[^\n]*\n)*?" if line == "…" else re.escape(line).replace("…", r"[^\n]*") + r"\n"
        for line in shown.strip("\n").split("\n")
    ]
    return re.compile("".join(lines).removesuffix(r"\n") + r"\s*")


class Server:
    """A program that goes on while the reader reads on."""

    def __init__(self, command: str, folder: Path, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._changed = threading.Condition()
        self.said = ""
        self._seen = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.said += line
                self._changed.notify_all()

    def says(self, shown: str) -> None:
        """Wait until what it has said since the last look is what the page shows."""
        expected = pattern(shown)

        def found() -> bool:
            return expected.fullmatch(self.said, self._seen) is not None

        with self._changed:
            self._changed.wait_for(lambda: found() or not self._thread.is_alive(), LIMIT)
            assert found(), f"expected:\n{shown}\nit said:\n{self.said[self._seen :]}"
            self._seen = len(self.said)

    @property
    def accepted(self) -> int:
        """How many events it says that it has accepted, if it is an emulator."""
        return sum(map(int, re.findall(r"-> 200, (\d+) of \d+ events$", self.said, re.MULTILINE)))

    def accepts(self, more_than: int) -> bool:
        """Wait until it says that it has accepted more events than so many."""
        with self._changed:
            return self._changed.wait_for(lambda: self.accepted > more_than, LIMIT)

    def interrupt(self, shown: str) -> None:
        """Press Ctrl-C, and wait until it has ended. Not in the moment of its last response, where
        wsgiref catches even a KeyboardInterrupt."""
        time.sleep(0.2)
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(LIMIT)
        self._thread.join(LIMIT)
        self.says(shown)  # all the rest of it

    def end(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(LIMIT)
        self._thread.join(LIMIT)
        if self._process.stdout is not None:
            self._process.stdout.close()


STAND_INS: Final = Path(__file__).parents[1] / "bin"
"""Programs that the pages use and a machine may lack."""


class Reader:
    """Follows one page from top to bottom, in a folder of its own.

    Args:
        page: the page.
        folder: an empty folder.
        known: what is set before the first block, and filled in where an ``export`` shows ``…``
            or the emulator's default port.
        arrived: how many events have arrived so far; None where the page starts an emulator itself.
    """

    def __init__(
        self,
        page: Page,
        folder: Path,
        known: dict[str, str],
        arrived: Callable[[], int] | None,
    ) -> None:
        self._page = page
        self._arrived = arrived
        self._folder = folder
        self._known = known
        self._state = folder / ".state"
        self._servers: dict[str, Server] = {}
        with ExitStack() as listeners:
            free = [listeners.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
            self._ports = {
                port: str(listener.getsockname()[1])
                for port, listener in zip(PORTS, free, strict=True)
            }
        binaries = str(Path(sys.executable).parent)
        self._environ = {
            **{name: value for name, value in os.environ.items() if "MASIVO" not in name},
            "PATH": os.pathsep.join([binaries, os.environ.get("PATH", ""), str(STAND_INS)]),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            # Installed for tests of the test kit; a reader has no need of them.
            "PYTEST_ADDOPTS": "-p no:asyncio -p no:trio -p no:anyio -p no:hypothesispytest",
            **known,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.end()

    def follow(self, run_by: str | None = None) -> None:
        """Do everything that the page says; of what tests of their own run, what this one does."""
        for name, text in self._page.files.items():
            (self._folder / name).write_text(text, "utf-8")
        said = None
        blocks = self._page.to_run(run_by)
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            shown = after is not None and after.language == "output"
            try:
                said = self._follow(block, said, shown=shown)
            except AssertionError as error:
                raise AssertionError(f"{self._page.name}, line {block.line}: {error}") from error

    def _follow(self, block: Block, said: str | None, *, shown: bool) -> str | None:
        """Do what a block says; what it printed, for the block after it, if that shows it."""
        code = exchanged(block.code, self._ports)
        if block.title is not None:
            path = self._folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, "utf-8")
        elif block.server is not None:
            self._attend(block.server, code)
        elif block.language in ("python", "py"):
            return self._program(code, shown=shown)
        elif block.language == "sh":
            return self.types(code)
        elif block.language == "console":
            for command, expected in commands(code):
                printed = self.types(command)
                assert pattern(expected).fullmatch(printed), f"{command} printed:\n{printed}"
        elif block.language == "output":
            assert said is not None, "nothing has been run that could print this"
            assert pattern(code).fullmatch(said), f"what was printed:\n{said}"
        return None

    def _program(self, code: str, *, shown: bool) -> str:
        """Run a program, whose warnings are errors. If it has a client, and no emulator of its own,
        and what it prints is not shown, events arrive."""
        sends = re.search(r"Client\(", code) and "Emulator(" not in code
        own = self._servers.get("emulator")
        before = self._arrived() if self._arrived else own.accepted if own else 0
        said = self._python(code)
        if sends and not shown:
            if self._arrived:
                assert self._arrived() > before, "no event has arrived"
            else:
                assert own is not None, "no emulator runs"
                assert own.accepts(more_than=before), "no event has arrived"
        return said

    def _python(self, code: str) -> str:
        if "PATH" in self._known:  # the Python of another environment
            return self._run(["python", "-W", "error", "-c", code])
        environ = {**self._environ, **self._exported()}
        process = processes.start(STRICT + code, cwd=self._folder, env=environ)
        out, err = process.communicate(timeout=LIMIT)
        return self._said(process.wait(), (out + err).decode())

    def _attend(self, name: str, code: str) -> None:
        if code.startswith("^C"):
            self._servers[name].interrupt(code.removeprefix("^C"))
        elif code.startswith("$ "):
            ((command, shown),) = commands(code)
            environ = {**self._environ, **self._exported()}
            server = self._servers[name] = Server(command, self._folder, environ)
            server.says(shown)
            self._known.update(re.findall(r"^\s*export (\w+)=(\S+)$", server.said, re.MULTILINE))
        else:
            self._servers[name].says(code)

    def _exported(self) -> dict[str, str]:
        """What the commands so far have exported."""
        if not self._state.exists():
            return {}
        script = f"source {self._state} && env -0"
        done = subprocess.run(
            ["bash", "-c", script], env=self._environ, capture_output=True, text=True, check=True
        )
        return dict(each.split("=", 1) for each in done.stdout.split("\0") if "=" in each)

    def types(self, script: str) -> str:
        """Type something in the shell, and return what it printed; what one command exports is
        there for the next."""
        script = re.sub(FILLED_IN, self._fill_in, script, flags=re.MULTILINE)
        before = f"source {self._state}\n" if self._state.exists() else ""
        after = f'\n{{ export -p; echo cd $(printf %q "$PWD"); }} > {self._state}'
        return self._run(["bash", "-e", "-c", before + script + after])

    def _fill_in(self, match: re.Match[str]) -> str:
        name = match[1]
        assert name in self._known, f"nobody told the reader what {name} is"
        return f"export {name}={self._known[name]}"

    def _run(self, command: list[str]) -> str:
        environ = {**self._environ, **self._exported()} if command[0] != "bash" else self._environ
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return self._said(done.returncode, done.stdout)

    def _said(self, code: int, printed: str) -> str:
        assert code == 0, f"exit code {code}:\n{printed}"
        return exchanged(printed, {port: shown for shown, port in self._ports.items()})


def exchanged(text: str, ports: dict[str, str]) -> str:
    """A text with each of these ports in the place of another."""
    return re.sub("|".join(ports), lambda match: ports[match[0]], text)


def commands(code: str) -> list[tuple[str, str]]:
    """The commands of a ``console`` block, each with the output that is shown."""
    assert code.startswith("$ "), "a console block begins with a command, after '$ '"
    found = re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (each.partition("\n") for each in found)]
