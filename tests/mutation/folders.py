"""The folders of the package, and the tests that may kill a mutant of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["FOLDERS", "Folder"]

PACKAGE: Final = Path(__file__).parents[2] / "masivo"


@dataclass(frozen=True, slots=True)
class Folder:
    """A part of the package.

    Args:
        changed: its files, as patterns.
        tests: what pytest is given.
        without: words in the names of tests that a changed package fails in any case: they read
            its source, or measure its pace.
    """

    changed: tuple[str, ...]
    tests: tuple[str, ...]
    without: tuple[str, ...] = field(default=())


_DRIVERS: Final = (
    *("tests/drivers", "tests/drivers_async", "tests/conformance"),
    *("tests/testkit/test_plugin.py", "tests/security/test_hosts.py"),
    "tests/transport/test_clients.py",
    "tests/spool/test_clients.py::test_a_child_of_a_fork_keeps_a_log_of_its_own",
)
_SOURCES: Final = ("test_size", "test_imports")

_SHARED: Final = sorted(path.name for path in PACKAGE.glob("_[!_]*.py"))

FOLDERS: Final = {
    "_http": Folder(
        ("masivo/_http/*.py",),
        (
            "tests/transport",
            "tests/drivers/test_http.py",
            "tests/drivers/test_fork.py::test_no_fork_cuts_the_making_of_an_http_client_in_two",
            "tests/drivers/test_fork.py::test_an_http_client_cannot_be_inherited",
            "tests/drivers/test_threads.py::test_a_name_that_is_looked_up_for_ever_is_given_up",
        ),
    ),
    "_sync": Folder(("masivo/_sync/*.py",), _DRIVERS, _SOURCES),
    "_async": Folder(("masivo/_async/*.py",), _DRIVERS, _SOURCES),
    "shared": Folder(
        tuple(f"masivo/{name}" for name in _SHARED),
        (*_DRIVERS, "tests/telemetry"),
        _SOURCES,
    ),
    "spool": Folder(("masivo/spool/*.py",), ("tests/spool",)),
    "opentelemetry": Folder(("masivo/opentelemetry.py",), ("tests/telemetry",)),
    "relay": Folder(("masivo/relay/*.py",), ("tests/relay",)),
    "cli": Folder(("masivo/cli/*.py",), ("tests/cli",)),
    "emulator": Folder(
        ("masivo/emulator/*.py",),
        ("tests/emulator", "tests/security/test_page.py", "tests/conformance"),
    ),
    "testing": Folder(("masivo/testing/*.py",), ("tests/testkit", "tests/conformance")),
}
"""``shared`` is what the drivers share: ``masivo/_*.py``."""
