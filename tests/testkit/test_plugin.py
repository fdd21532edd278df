"""The plugin as its users meet it: each test here is a run of pytest in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import trio

import masivo
from masivo import _guard
from masivo.testing.kit.environment import Environment
from masivo.testing.kit.isolation import open_clients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest_plugins = "pytester"

IMPORTED = trio, masivo.Client, masivo.AsyncClient, masivo.TrioClient
"""Pytester forgets what is imported in a run: this must not be torn apart."""

APP = """
    import functools
    from masivo import AsyncClient, Client

    client = Client()  # while modules are imported: before any test
    async_client = AsyncClient()

    @functools.cache
    def cached_client():
        return Client()

    def add(customer, to=None):
        return (to or client).send_analytics_event(
            {"type": "ADD_TO_CART", "customer_id": customer, "brand_id": None}
        )
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Runs pytest on a test file, beside ``app.py``; what it said.

    In this process, where that shows as much: a process of its own costs a second. Clients that
    the file keeps would share their token with those of later tests here.
    """
    for name in list(os.environ):
        if name.startswith(("MASIVO", "PYTEST")):
            monkeypatch.delenv(name)
    pytester.makepyfile(app=APP)

    def run(
        tests: str,
        *arguments: str,
        ini: str = "",
        passed: int,
        errors: int = 0,
        apart: bool = False,
        loops: bool = False,
    ) -> str:
        pytester.makeini(f"[pytest]\n{dedent(ini)}")
        pytester.makepyfile(test_app=tests)
        start = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        without = ["cacheprovider", "hypothesispytest", *(() if loops else ("asyncio", "trio"))]
        result = start(*(f"-pno:{name}" for name in without), "-rA", *arguments)
        result.assert_outcomes(passed=passed, errors=errors)
        return result.stdout.str()

    yield run
    for client in open_clients():
        if isinstance(client, masivo.Client):
            client.destroy()


GUARDED = """
    import os, subprocess, sys
    import httpx, masivo, pytest, trio

    KEY = "the-key"
    REAL = "https://app.masivo.ai/api/storefront/v1"
    WORLDS = [
        (masivo.Client, httpx.Client),
        (masivo.AsyncClient, httpx.AsyncClient),
        (masivo.TrioClient, httpx.AsyncClient),
    ]
    refused = pytest.raises(masivo.MasivoConfigError, match="fixture masivo_emulator")

    @pytest.mark.parametrize(("client", "http_client"), WORLDS)
    def test_refused(client, http_client, monkeypatch):
        for settings in ({}, {"base_url": REAL}, {"http_client": http_client}):
            with refused:
                client(**settings)
            with refused:
                client(KEY, **settings)
        monkeypatch.setenv("MASIVO_BASE_URL", "https://example.org")
        with refused:
            client(KEY)
        for name in list(os.environ):  # as unittest.mock.patch.dict(clear=True) does
            monkeypatch.delenv(name)
        with refused as caught:
            client(KEY)
        assert KEY not in str(caught.value)
        assert "masivo_real_api" in str(caught.value)

    def test_not_refused():
        masivo.Client(KEY, base_url="http://localhost:9").destroy()
        masivo.Client(KEY, enabled=False).destroy()

    def test_children():
        child = "import masivo; masivo.Client('k')"
        done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
        assert "fixture masivo_emulator" in done.stderr

    def test_the_shell_is_not_seen():
        ours = {"MASIVO_API_KEY", "MASIVO_BASE_URL", "MASIVO_DISABLED", "MASIVO_SPOOL"}
        assert not ours & set(os.environ)

    @pytest.mark.masivo_real_api
    def test_opted_out():
        assert os.environ["MASIVO_API_KEY"] == "shell-key"
        assert os.environ["MASIVO_DISABLED"] == "1"
        assert os.environ["MASIVO_SPOOL"] == "var/events"
        assert "masivo.ai" in repr(masivo.Client(base_url=REAL))
        assert "MASIVO_LOOPBACK_ONLY" not in os.environ

    @pytest.mark.masivo_real_api
    def test_opted_out_with_the_emulator(masivo_emulator):
        assert os.environ["MASIVO_API_KEY"] == masivo_emulator.client_key

    test_refused_again = test_refused
"""


@pytest.mark.parametrize(
    "workers", [[], pytest.param(["-n", "1"], marks=pytest.mark.full)], ids=["alone", "xdist"]
)
def test_no_client_reaches_another_host(
    workers: list[str], run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no world, not with an HTTP client of one's own, not with an empty environment, not in a
    child; but where the test is marked so, and then with what the shell has set."""
    monkeypatch.setenv("MASIVO_API_KEY", "shell-key")
    monkeypatch.setenv("MASIVO_DISABLED", "1")
    monkeypatch.setenv("MASIVO_SPOOL", "var/events")
    run(GUARDED, *workers, "--strict-markers", passed=11, apart=bool(workers))


def test_a_whole_run_can_opt_out(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the configuration; the fixtures work all the same."""
    monkeypatch.setenv("MASIVO_API_KEY", "shell-key")
    tests = """
        import masivo

        def test_real():
            assert "masivo.ai" in repr(masivo.Client())

        def test_emulator(masivo_events):
            import app
            app.add("c1", masivo.Client())
            masivo_events.expect(customer_id="c1")
    """
    run(tests, ini="masivo_real_api = true", passed=2)


ISOLATED = """
    import asyncio, threading
    import app, masivo, pytest

    def events_of(emulator):
        return [event["customer_id"] for event in emulator.events]

    @pytest.fixture(scope="session")
    def client_of_the_session():
        return masivo.Client()

    def workers():
        return [each for each in threading.enumerate() if each.name == "masivo"]

    def count_up(_):
        for _ in range(500_000):  # its thread takes a while to end
            pass

    def test_first(masivo_emulator, client_of_the_session):
        for client in (app.client, app.cached_client(), client_of_the_session, masivo.Client()):
            app.add("first", client)
        app.left = app.add("first")
        app.slow = masivo.Client(on_error=count_up)
        app.add("first", app.slow)
        masivo.Client().get_token()

        async def main():
            app.add("first", app.async_client)
            await app.async_client.get_token()

        asyncio.run(main())

    def test_threads(masivo_events):
        assert workers() == []
        assert masivo_events.all == []
        assert "the test was over before" in str(app.left.exception(0))

    def test_second(masivo_emulator, masivo_events, client_of_the_session):
        for client in (app.client, app.cached_client(), client_of_the_session):
            app.add("second", client)
        masivo_events.expect_delivered()
        assert events_of(masivo_emulator) == ["second"] * 3
        assert len(masivo_emulator.authorizations) == 1

        async def main():
            app.add("second", app.async_client)
            await app.async_client.flush()

        asyncio.run(main())
        assert events_of(masivo_emulator) == ["second"] * 4
        assert len(masivo_emulator.authorizations) == 2  # another world, another token

    def test_without_the_emulator():
        assert "no-emulator-in-this-test" in repr(app.client)
        app.add("nobody")
        app.add("nobody", app.slow)

    def test_threads_without_the_emulator():
        assert workers() == []

    class TestOrder:
        @pytest.fixture(autouse=True)
        def client(self):
            self.client = masivo.Client()

        def test_the_kit_comes_first(self, masivo_clock, masivo_emulator):
            app.add("late", self.client)
            masivo_clock.advance(30)
            assert events_of(masivo_emulator) == ["late"]
            app.client.close()

    def test_closed_stays_closed(masivo_emulator):
        with pytest.raises(masivo.MasivoClosedError):
            app.add("c1")
"""


def test_tests_are_kept_apart(run: Callable[..., str]) -> None:
    """No event, token or thread of a test is seen by the next, whoever keeps its clients; and
    clients that are kept go on working, each time with the test's own emulator."""
    said = run(ISOLATED, "-p", "no:randomly", passed=7)
    assert "Exception ignored" not in said


AFTER_THE_CLOCK = """
    import asyncio, time
    import masivo

    HOUR = 3600
    EVENT = {"type": "VIEW", "customer_id": "c", "brand_id": None}

    def test_first(masivo_clock, masivo_emulator):
        with masivo.Client() as client:
            client.send_analytics_event(EVENT)
            masivo_clock.advance(HOUR)

    def test_second(masivo_emulator):
        began = time.time()
        with masivo.Client(idle_timeout=0.01) as client:
            client.send_analytics_event(EVENT)
            # Nothing waits by means of the client: only a clock that runs gets it there.
            masivo_emulator.wait_for(lambda emulator: emulator.event_count == 1)

        async def main():
            async with masivo.AsyncClient(idle_timeout=0.01) as client:
                client.send_analytics_event(EVENT)
                while masivo_emulator.event_count == 1:
                    await asyncio.sleep(0.001)

        asyncio.run(asyncio.wait_for(main(), 20))
        times = [request.received_at for request in masivo_emulator.requests]
        assert all(began - 1 <= each <= time.time() + 1 for each in times)
"""


def test_time_is_real_again_after_a_test_with_the_clock(run: Callable[..., str]) -> None:
    """The clients and the emulator of the next test go by the real time, in threads and loops."""
    run(AFTER_THE_CLOCK, "-p", "no:randomly", passed=2)


LEAKED = """
    import asyncio, time
    import app, masivo, pytest, trio

    def test_in_virtual_time(masivo_clock, masivo_emulator):
        app.add("c1")
        masivo_clock.advance(3600)
        assert masivo_emulator.event_count == 1

        async def main(kind):
            async with kind() as client:
                app.add("c2", client)
                await masivo_clock.aadvance(3600)

        asyncio.run(main(masivo.AsyncClient))
        trio.run(main, masivo.TrioClient)

    def test_in_real_time(masivo_emulator):
        began = time.monotonic()
        kept = masivo.Client(idle_timeout=0.1)
        assert app.add("c1", kept).result(10).success
        assert app.add("c2", app.client).result(10).success

        async def main(kind):
            async with kind(idle_timeout=0.1, await_linger=None) as client:
                assert (await app.add("c3", client)).success

        async def in_asyncio():
            await asyncio.wait_for(main(masivo.AsyncClient), 10)

        async def in_trio():
            with trio.fail_after(10):
                await main(masivo.TrioClient)

        asyncio.run(in_asyncio())
        trio.run(in_trio)
        assert time.monotonic() - began > 0.3  # nothing let the time run but itself
        seen = [each.received_at for each in masivo_emulator.requests]
        assert max(abs(at - time.time()) for at in seen) < 60

    def test_in_real_time_without_a_fixture():
        from masivo._async import clock as loops
        from masivo._sync import clock as threads
        assert loops.current is None
        assert type(threads.current) is threads.Clock
"""


def test_virtual_time_ends_with_its_test(run: Callable[..., str]) -> None:
    """After a test with ``masivo_clock`` the time is the real one, in all worlds, for clients that
    are kept and for new ones, and for the emulator."""
    run(LEAKED, "-p", "no:randomly", passed=3)


def test_autojump_clock_is_refused(run: Callable[..., str]) -> None:
    """pytest-trio's ``autojump_clock`` lets time run while requests are under way: an error that
    names it, and what to use in its place, comes in place of a hang."""
    tests = """
        import pytest

        @pytest.fixture
        def autojump_clock():
            pass

        def test_both(autojump_clock, masivo_events):
            pass
    """
    said = run(tests, passed=0, errors=1)
    assert "autojump_clock do not go together" in said
    assert "Use masivo_clock in place of autojump_clock" in said


WORLDS = """
    import app, masivo, pytest

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(request):
        return request.param

    @pytest.fixture
    async def client(anyio_backend):
        kind = masivo.AsyncClient if anyio_backend == "asyncio" else masivo.TrioClient
        async with kind() as client:
            yield client

    @pytest.mark.anyio
    async def test_anyio(client, masivo_events, masivo_emulator, masivo_clock):
        app.add("c1", client)
        masivo_events.expect(customer_id="c1")
        await masivo_clock.aadvance(30)
        assert masivo_emulator.event_count == 1
        app.add("c2", client)
        await masivo_events.aexpect_delivered()
        assert masivo_emulator.event_count == 2
"""


def test_it_works_with_anyio(run: Callable[..., str]) -> None:
    """Its plugin runs asynchronous fixtures and tests in one loop, in both worlds."""
    run(WORLDS, passed=2)


ITEMS = """
    import pytest

    def pytest_collect_file(file_path, parent):
        if file_path.suffix == ".txt":
            return Page.from_parent(parent, path=file_path)

    class Page(pytest.File):
        def collect(self):
            yield Line.from_parent(self, name="line")

    class Line(pytest.Item):
        def runtest(self):
            assert self.path.read_text() == "x"
"""


def test_an_item_that_is_no_function_is_run(run: Callable[..., str], pytester: Any) -> None:
    """Other plugins collect what has no fixtures."""
    pytester.makeconftest(ITEMS)
    (pytester.path / "page.txt").write_text("x")
    run("", passed=1)


@pytest.mark.full
def test_it_works_with_pytest_asyncio_and_pytest_trio(run: Callable[..., str]) -> None:
    """Both at once, with loops of a function's and of a session's scope, and trio's mock clock."""
    tests = """
        import app, masivo, pytest, pytest_asyncio, trio

        @pytest_asyncio.fixture
        async def client():
            async with masivo.AsyncClient() as client:
                yield client

        @pytest.mark.asyncio
        async def test_asyncio(client, masivo_clock, masivo_emulator, masivo_events):
            app.add("c1", client)
            masivo_events.expect(customer_id="c1")
            await masivo_clock.aadvance(30)
            assert masivo_emulator.event_count == 1

        @pytest.mark.asyncio(loop_scope="session")
        async def test_one_loop_for_all(masivo_emulator, masivo_events):
            app.add("first", app.async_client)
            masivo_events.expect(count=1)

        @pytest.mark.asyncio(loop_scope="session")
        async def test_one_loop_for_all_again(masivo_emulator, masivo_events):
            assert masivo_events.all == []
            app.add("second", app.async_client)
            await masivo_events.aexpect_delivered()
            assert [each["customer_id"] for each in masivo_emulator.events] == ["second"]
            assert len(masivo_emulator.authorizations) == 1

        @pytest.fixture
        async def trio_client(nursery):
            async with masivo.TrioClient() as client:
                yield client

        @pytest.mark.trio
        async def test_trio(trio_client, masivo_clock, masivo_emulator, masivo_events):
            app.add("c1", trio_client)
            masivo_events.expect(customer_id="c1")
            await masivo_clock.aadvance(30)
            assert masivo_emulator.event_count == 1

        @pytest.mark.trio
        async def test_mock_clock(mock_clock, masivo_emulator, masivo_events):
            async with masivo.TrioClient(idle_timeout=30) as client:
                app.add("c1", client)
                mock_clock.jump(30)
                arrived = lambda emulator: emulator.event_count == 1
                await trio.to_thread.run_sync(masivo_emulator.wait_for, arrived)
            masivo_events.expect(customer_id="c1")
    """
    ini = "asyncio_default_fixture_loop_scope = function"
    run(tests, "-W", "error", ini=ini, passed=5, apart=True, loops=True)


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the run is over, variables and guard are as they were before it, whatever tests set."""
    monkeypatch.setattr(_guard, "loopback_only", False)
    monkeypatch.setenv("MASIVO_API_KEY", "the shell's")
    monkeypatch.delenv("MASIVO_DISABLED", raising=False)
    environment = Environment()
    environment.guard({"MASIVO_API_KEY": "a test's", "MASIVO_DISABLED": "1"})
    assert _guard.loopback_only
    assert _guard.environ()["MASIVO_API_KEY"] == "a test's"
    environment.restore()
    assert not _guard.loopback_only
    assert os.environ["MASIVO_API_KEY"] == "the shell's"
    assert "MASIVO_DISABLED" not in os.environ


def test_being_installed_costs_next_to_nothing() -> None:
    """The plugin imports nothing that pytest has not, but a few small files of its own."""
    program = (
        "import sys, pytest; before = set(sys.modules); import masivo.testing.plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert ended.stdout.split() == [
        "masivo",
        "masivo._guard",
        "masivo._protocol",
        "masivo.testing",
        "masivo.testing.kit",
        "masivo.testing.kit.environment",
        "masivo.testing.plugin",
    ]


def test_a_suite_without_masivo_is_left_alone(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the package is imported by a run that does not use it, and nothing is said."""
    tests = """
        import sys

        HEAVY = {"httpx", "h11", "trio", "msgspec", "masivo.protocol", "masivo._client"}

        def test_one(tmp_path):
            assert not HEAVY & set(sys.modules)

        def test_two():
            assert not HEAVY & set(sys.modules)
    """
    said = run(tests, "-W", "error", "-p", "no:anyio", passed=2, apart=True)
    assert "masivo" not in said.partition("plugins:")[2].partition("\n")[2].replace("masivo_", "")
