"""The recipes for frameworks: their pages, their applications, and requests to these."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from .programs import started

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from contextlib import AbstractContextManager

    from masivo.emulator import Emulator

    from .programs import Program

__all__ = ["APPS", "EXAMPLES", "PAGES", "Recipe", "asking", "blocks", "commands"]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = ROOT / "docs" / "how-to"

APPS = {name: EXAMPLES / f"{name}_app" for name in ("fastapi", "flask", "django", "celery")}
"""The folder of each framework's application."""

ENVIRONMENT = {"DJANGO_SECRET_KEY": "not-secret-in-a-test", "DJANGO_DEBUG": "1"}


def blocks(page: str) -> list[tuple[str, str]]:
    """The info string and the text of each block of code on a page."""
    text = (PAGES / f"{page}.md").read_text("utf-8")
    return re.findall(r"^```([^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """The commands that a page shows, one a line, without comments."""
    lines = [
        re.sub(r"\s+#.*", "", line)
        for info, text in blocks(page)
        if info == "sh"
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return [re.sub(r"\s+", " ", line) for line in lines]


def asking(page: str) -> list[str]:
    """Those of them that ask the running application for something."""
    return [each for each in commands(page) if each.startswith(("curl ", "celery -A tasks call "))]


class Recipe:
    """An application of the examples, in a folder of its own, that talks to an emulator."""

    def __init__(self, framework: str, folder: Path, emulator: Emulator) -> None:
        self.folder = folder / "app"
        self._framework = framework
        self._emulator = emulator
        shutil.copytree(
            APPS[framework], self.folder, ignore=shutil.ignore_patterns("__pycache__", "queue")
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port: int = listener.getsockname()[1]

    @contextmanager
    def running(self, command: str, *options: str) -> Generator[Program]:
        """Start a command that the page shows, on a free port instead of 8000, perhaps with more
        options."""
        assert command in commands(self._framework), f"the page does not show {command!r}"
        words = shlex.split(command.replace("8000", str(self._port)))
        with self._started([*words, *options]) as program:
            yield program

    def run(self, command: str) -> str:
        """Run a command that the page shows to its end; what it said."""
        with self.running(command) as program:
            return program.ends()

    def produce(self, text: str) -> None:
        """Run a program of the test's beside the application."""
        with self._started([sys.executable, "-c", text]) as program:
            program.ends()

    def _started(self, words: list[str]) -> AbstractContextManager[Program]:
        environment = {
            **ENVIRONMENT,
            "MASIVO_API_KEY": self._emulator.client_key,
            "MASIVO_BASE_URL": self._emulator.url,
        }
        return started(self.folder, words, environment)

    def client(self) -> httpx.Client:
        """A client for the application; it waits until the server listens."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}",
            transport=httpx.HTTPTransport(
                retries=10, limits=httpx.Limits(max_keepalive_connections=0)
            ),
            timeout=30,
        )

    def fill_carts(self, numbers: Iterable[int]) -> None:
        """Put items into carts side by side, each with a number."""
        with self.client() as client, ThreadPoolExecutor(8) as pool:

            def post(n: int) -> None:
                item = {"customer_id": f"customer-{n % 7}", "sku": str(n)}
                client.post("/cart", json=item).raise_for_status()

            list(pool.map(post, numbers))

    def counters(self) -> dict[str, int]:
        """What the application says of its events."""
        with self.client() as client:
            counters: dict[str, int] = client.get("/events").raise_for_status().json()
        return counters

    def touch(self, name: str) -> None:
        """Change a file of the application, as an editor does."""
        file = self.folder / name
        file.write_text(file.read_text() + "\n")

    def arrived(self) -> list[int]:
        """The numbers of the items whose events the API accepted, sorted."""
        return sorted(int(each["product"]["sku"]) for each in self._emulator.events)
