"""The cost of ``import masivo`` (``docs/reference/guarantees.md#cheap-import``)."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires

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

UNUSED = {"httpx", "httpx2", "httpcore", "click", "rich"}
"""What a client needs only for a proxy, and httpx for its command line."""


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
        ("from masivo import Client\nClient('k')", {*UNUSED, "asyncio", "trio"}),
        (
            "import os\nos.environ['MASIVO_API_KEY'] = 'k'\nfrom masivo import Client\nClient()",
            {*UNUSED, "difflib"},
        ),
        ("from masivo import AsyncClient\nAsyncClient('k')", {*UNUSED, "trio"}),
        ("from masivo import TrioClient\nTrioClient('k')", UNUSED),
        ("import masivo.emulator", {"httpx", "asyncio", "trio", "msgspec"}),
    ],
)
def test_only_what_is_needed_is_imported(program: str, never: set[str]) -> None:
    """Each part of the package loads what it needs itself, and nothing for the others."""
    assert not modules_after(program) & never


def test_what_is_installed_with_the_package() -> None:
    """Four libraries; everything else is an extra."""
    needed = [each for each in requires("masivo") or [] if "extra ==" not in each]
    names = {re.split(r"[^\w-]", each)[0] for each in needed}
    assert names == {"certifi", "h11", "httpx", "msgspec"}


def test_a_client_imports_nothing_of_servers() -> None:
    """Neither the relay, nor what servers share in the room of the wire."""
    program = (
        "from masivo import Client; Client('k'); "
        "import sys; print(*(name for name in sys.modules if name.startswith('masivo')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "masivo._protocol.wire.requests" in modules
    for name in ("serving", "jwt", "schema"):
        assert f"masivo._protocol.wire.{name}" not in modules
    assert not [name for name in modules if name.startswith(("masivo.relay", "masivo.emulator"))]


def test_every_public_name_resolves() -> None:
    """``__all__`` and ``dir`` promise no more than there is, and no other name resolves."""
    import masivo

    for name in masivo.__all__:
        assert getattr(masivo, name) is not None
    assert set(masivo.__all__) <= set(dir(masivo))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        masivo.nothing  # noqa: B018


WITHOUT_TRIO = """
import asyncio, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "trio":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import masivo

for attempt in range(2):
    try:
        masivo.TrioClient
    except ImportError as error:
        print(type(error).__name__, error.name, error)
try:
    from masivo import TrioClient
except ImportError as error:
    print("masivo[trio]" in str(error))

event = {"type": "X", "customer_id": "c", "brand_id": None}

async def main():
    async with masivo.AsyncClient("key", enabled=False) as client:
        print((await client.send_analytics_event(event)).status)

asyncio.run(main())
with masivo.Client("key", enabled=False) as client:
    print(client.send_analytics_event(event).result().status)
"""


def test_without_trio_the_error_names_the_extra() -> None:
    """``masivo.TrioClient`` without trio is an ImportError that says how to get it; the other
    clients work."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRIO], capture_output=True, text=True, check=True, timeout=30
    )
    first, second, *others = done.stdout.splitlines()
    assert first == second
    assert first.startswith("ImportError trio")
    assert "masivo[trio]" in first
    assert others == ["True", "0", "0"]
