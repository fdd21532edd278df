"""What is imported when, and what is said where trio is not installed."""

from __future__ import annotations

from .programs import run

LOADED = 'print(sorted({"trio", "asyncio", "httpx", "anyio"} & set(sys.modules)))'

BLOCKED = """
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "trio":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def test_the_package_imports_no_loop() -> None:
    """``import masivo`` loads neither asyncio, nor trio, nor an HTTP library."""
    out, _ = run(LOADED, prelude="import sys, masivo\n")
    assert out.strip() == "[]"


def test_the_asyncio_client_does_not_import_trio() -> None:
    """``masivo.AsyncClient`` is had without trio."""
    out, _ = run("masivo.AsyncClient\n" + LOADED, prelude="import sys, masivo\n")
    assert out.strip() == "['asyncio']"


def test_without_trio_the_error_names_the_extra() -> None:
    """``masivo.TrioClient`` without trio is an ImportError that says how to get it."""
    out, _ = run(
        BLOCKED
        + """
for attempt in range(2):
    try:
        masivo.TrioClient
    except ImportError as error:
        print(type(error).__name__, error.name, error)
try:
    from masivo import TrioClient
except ImportError as error:
    print("masivo[trio]" in str(error))
"""
    )
    first, second, third = out.splitlines()
    assert first == second
    assert first.startswith("ImportError trio")
    assert "masivo[trio]" in first
    assert third == "True"


def test_without_trio_the_other_clients_work() -> None:
    """Threads and asyncio need no trio: not to be imported, nor to be made."""
    out, _ = run(
        BLOCKED
        + """
async def main():
    client = masivo.AsyncClient("key", enabled=False)
    async with client:
        print((await client.send_analytics_event(event())).status)

asyncio.run(main())
with masivo.Client("key", enabled=False) as client:
    print(client.send_analytics_event(event()).result().status)
"""
    )
    assert out.split() == ["0", "0"]
