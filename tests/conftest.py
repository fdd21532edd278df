"""What all tests share: how many processes run them, limits, interrupts, garbage, an emulator."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from limits import pytest_addoption, pytest_configure

from masivo.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pytest_addoption", "pytest_configure"]

# Keep what the shell has set out of the tests.
for variable in ("MASIVO_API_KEY", "MASIVO_BASE_URL", "MASIVO_DISABLED", "MASIVO_LOG"):
    os.environ.pop(variable, None)

# In the background of a shell SIGINT is ignored, and under nohup SIGHUP: whatever a test starts
# would ignore them, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: four processes more than there are cores, as many tests wait for a clock."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) + 4


gc.disable()  # while tests are collected, a sixth of that time


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import a share of the tests, where several processes run them: each file is compiled in one
    process, and the others find the result. (On a fresh clone that is half of the collection.)"""
    worker, count = (os.environ.get(f"PYTEST_XDIST_WORKER{each}", "") for each in ("", "_COUNT"))
    if worker:
        tests = Path(__file__).parent
        asked = {file for each in session.config.args for file in files_of(each.partition("::")[0])}
        for file in sorted(asked)[int(worker.removeprefix("gw")) :: int(count)]:
            with suppress(Exception, pytest.skip.Exception):  # the collection reports it
                import_module(".".join(file.relative_to(tests).with_suffix("").parts))


def files_of(argument: str) -> list[Path]:
    """The files of tests that an argument of pytest names."""
    path = Path(argument).resolve()
    return [path] if path.is_file() else [*path.rglob("test_*.py")]


def pytest_collection_finish() -> None:
    """Called when all tests are known."""
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def whole_collection() -> Iterator[None]:
    """Let the end of the run see everything again."""
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="module")
def quick_collection() -> None:
    """Let a full collection look at what a module's tests make, and not at all that is there.

    Many tests collect; what pytest and the modules keep grows to hundreds of thousands of objects,
    a quarter of a second each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator."""
    with Emulator() as emulator:
        yield emulator
