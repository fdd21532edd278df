"""The cost of ``import masivo`` (``docs/reference/guarantees.md#cheap-import``)."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "httpx",
    "httpx2",
    "httpcore",
    "asyncio",
    "trio",
    "msgspec",
    "ssl",
    "logging",
    "h11",
)


def modules_after(program: str) -> set[str]:
    """The top-level modules that a program has imported when it ends."""
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return {name.partition(".")[0] for name in ended.stdout.split()}


def test_the_package_alone_is_cheap() -> None:
    """Importing it loads neither an HTTP library, nor an event loop, nor a JSON library."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import masivo"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "masivo" in imported
    assert not {name.partition(".")[0] for name in imported} & set(HEAVY)


def test_importing_the_package_imports_little() -> None:
    """``import masivo`` brings a handful of modules: no HTTP, no event loop, not even typing."""
    program = (
        "import sys; before = set(sys.modules); import masivo; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert len(modules) <= 8
    assert not {module.partition(".")[0] for module in modules} & {*HEAVY, "typing"}


@pytest.mark.parametrize(
    ("program", "never"),
    [
        ("from masivo import MasivoError, Stats", {"httpx", "asyncio", "trio"}),
        ("import masivo\ndir(masivo)", set(HEAVY)),
        ("import masivo.protocol", {"httpx", "asyncio", "trio", "threading", "socket", "logging"}),
        ("from masivo import Client\nClient('k', enabled=False)", {"httpx", "asyncio", "trio"}),
        # httpx itself imports trio, where it is installed.
        ("from masivo import Client\nClient('k')", {"httpx2"}),
        ("from masivo import AsyncClient\nAsyncClient('k')", {"httpx2"}),
        ("import masivo.emulator", {"httpx", "asyncio", "trio", "msgspec"}),
    ],
)
def test_only_what_is_needed_is_imported(program: str, never: set[str]) -> None:
    """Each part of the package loads what it needs itself, and nothing for the others."""
    assert not modules_after(program) & never


def test_every_public_name_resolves() -> None:
    """``__all__`` and ``dir`` promise no more than there is, and no other name resolves."""
    import masivo

    for name in masivo.__all__:
        assert getattr(masivo, name) is not None
    assert set(masivo.__all__) <= set(dir(masivo))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        masivo.nothing  # noqa: B018
