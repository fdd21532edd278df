"""``masivo relay``: what it refuses, what it prints, how it ends, and its dead letters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from drivers.events import until
from relay.redis_server import RedisServer

from masivo import Client
from masivo.cli import relay as module
from masivo.emulator import Fault
from masivo.spool import Spool

from .conftest import LIMIT, clean, event, started

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from processes import Process

    from masivo.emulator import Emulator

    from .conftest import Shell

KEY = "a-shop-s-key-0123456789"


@contextmanager
def relay(
    emulator: Emulator, place: Path | None, *options: str, **environ: str
) -> Generator[tuple[Process, str], None, None]:
    """A relay that runs, with a spool in this place, if any, and its ``base_url``."""
    settings = {
        "MASIVO_API_KEY": emulator.client_key,
        "MASIVO_BASE_URL": emulator.url,
        "MASIVO_RELAY_KEYS": f"another, {KEY}",
        **environ,
    }
    store = [] if place is None else ["--spool", str(place)]
    process = started(
        *("relay", *store, "--port", "0", "--idle-timeout", "0.1", *options),
        env=clean(os.environ) | settings,
    )
    try:
        yield process, process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.communicate()


def ended(process: Process, number: int) -> tuple[int, float, str]:
    """End a relay by a signal; its exit code, the seconds it took, and its errors."""
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT)
    return process.wait(), time.monotonic() - began, errors.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_delivers_and_ends_by_a_signal(
    emulator: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    """With exit code 0, and what came last delivered; neither keys nor events are in what it
    prints."""
    with relay(emulator, tmp_path, "--idle-timeout", "60") as (process, url):
        with Client(KEY, base_url=url) as client:
            client.send_analytics_event(event(1))
        root = url.partition("/api")[0]
        assert urlopen(f"{root}/ready").read() == b"ready\n"
        code, _, errors = ended(process, number)
        assert code == 0
        assert emulator.event_count == 1
        assert errors.splitlines() == [f"Relay for {emulator.url}, with its events in {tmp_path}."]


@pytest.mark.full
def test_it_ends_in_time_while_the_api_hangs(emulator: Emulator, tmp_path: Path) -> None:
    """A request on its way gets 5 s; after 10 s nothing runs, and the events wait in the spool."""
    emulator.fail(Fault(delay=60.0), route="events", times=None)
    with relay(emulator, tmp_path) as (process, url):
        with Client(KEY, base_url=url) as client:
            client.send_analytics_event(event(1))
        emulator.wait_for(lambda _: len(emulator.requests) >= 2)
        code, seconds, errors = ended(process, signal.SIGTERM)
    assert code == 0
    assert 3.0 < seconds < 10.0
    assert "1 event of this client stays in the spool" in errors


def test_it_ends_at_once_while_the_api_is_gone(emulator: Emulator, tmp_path: Path) -> None:
    """Nothing is waited for where one try has failed."""
    with relay(emulator, tmp_path) as (process, url):
        emulator.stop()
        with Client(KEY, base_url=url) as client:
            client.send_analytics_event(event(1))
        code, seconds, errors = ended(process, signal.SIGTERM)
    assert code == 0
    assert seconds < 8.0
    assert "1 event of this client stays in the spool" in errors
    assert KEY not in errors
    assert "customer" not in errors


def test_without_keys_of_its_own_it_takes_the_one_it_delivers_with(
    emulator: Emulator, tmp_path: Path
) -> None:
    """And says so, as a mistyped variable is not there."""
    with relay(emulator, tmp_path, MASIVO_RELAY_KEYS="") as (process, url):
        with Client(emulator.client_key, base_url=url) as client:
            assert client.get_token()
        _, _, errors = ended(process, signal.SIGTERM)
    said = "MASIVO_RELAY_KEYS is not set, so clients use the API's key."
    assert errors.splitlines()[0] == said


@pytest.mark.skipif(sys.platform != "linux", reason="macOS refuses its own hard limit")
def test_it_may_hold_as_many_connections_as_the_system_allows() -> None:
    """Shells and services often begin a program with a lower limit."""
    import resource

    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given[0] - 1, given[1]))
        module._allow_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (given[1], given[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, given)


def test_it_starts_where_no_limit_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, whose Python has no such module."""
    monkeypatch.setitem(sys.modules, "resource", None)
    module._allow_files()


def test_it_delivers_what_a_replaced_key_has_left(emulator: Emulator, tmp_path: Path) -> None:
    """On demand: else it waits for a relay with that key."""
    spool = Spool(str(tmp_path), "an-old-key", emulator.url, 1 << 20)
    spool.append(json.dumps(event(1)).encode(), time.time(), True)
    spool.release()
    with relay(emulator, tmp_path, "--replaced-key"):
        emulator.wait_for(lambda emulator: emulator.event_count == 1, timeout=LIMIT)


def test_its_metrics_count_what_it_delivers(emulator: Emulator, tmp_path: Path) -> None:
    """Events of a spool, too."""
    with relay(emulator, tmp_path) as (_, url):
        with Client(KEY, base_url=url) as client:
            client.send_analytics_event(event(1))
        metrics = f"{url.partition('/api')[0]}/metrics"
        until(lambda: b"\nmasivo_relay_delivered_events_total 1.0\n" in urlopen(metrics).read())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the store: --spool DIR"),
        (["--spool", "a", "--redis", "redis://b"], "cannot be combined"),
        (["--spool", "a", "--name", "shop"], "--name is for --redis"),
        (["--spool", "a", "--partitions", "4"], "--partitions is for --redis"),
        (["rejected", "--spool", "a", "--name", "shop"], "--name is for --redis"),
        (["--spool", "a", "--host", "0.0.0.0"], "--behind-proxy"),
        (["--spool", "a", "--host", "::"], "--behind-proxy"),
        (
            ["--spool", "a", "--host", "127.0.0.1:80"],
            "cannot listen on 127.0.0.1:80:",
        ),
        (["--spool", "a", "--host", "no.such.host.invalid", "--behind-proxy"], "cannot listen on"),
        (["--spool", "a", "--host", "relay..example"], "cannot listen on relay..example:"),
        (["--spool", "/dev/null/a", "--port", "0"], "spool=/dev/null/a"),
        (["--spool", "a", "--idle-timeout", "1s"], "'1s' is not a valid number of seconds"),
        (["rejected"], "name the store"),
        (["rejected", "--spool", "/nowhere"], "there is no directory /nowhere"),
    ],
)
def test_what_cannot_work_is_refused_with_a_way_out(
    shell: Shell, arguments: list[str], words: str
) -> None:
    """With exit code 2, before anything is sent or stored."""
    ended = shell.masivo("relay", *arguments)
    assert ended.code == 2
    assert words in ended.err
    assert not (shell.folder / "a").exists()


def test_a_store_that_cannot_work_is_refused_before_the_key_is_asked_for(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody types a key for a command that cannot run."""
    monkeypatch.delenv("MASIVO_API_KEY")
    ended = shell.masivo("relay", "--spool", "a", "--redis", "redis://b")
    assert ended.code == 2
    assert "cannot be combined" in ended.err


def test_keys_of_which_there_are_none_are_refused(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the relay would take the API's key from its clients, which nobody wanted."""
    monkeypatch.setenv("MASIVO_RELAY_KEYS", " , ")
    ended = shell.masivo("relay", "--spool", "a", "--port", "0")
    assert ended.code == 2
    assert "MASIVO_RELAY_KEYS holds no key" in ended.err


def test_a_port_that_is_taken_is_named(shell: Shell) -> None:
    """With the option that chooses another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = shell.masivo("relay", "--spool", "a", "--port", port)
    assert ended.code == 2
    assert f"127.0.0.1:{port}" in ended.err
    assert "--port" in ended.err


def test_a_relay_does_not_deliver_to_itself(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the clients' MASIVO_BASE_URL is set for it, too."""
    monkeypatch.setenv("MASIVO_BASE_URL", "http://localhost:8311/api/storefront/v1")
    ended = shell.masivo("relay", "--spool", "a")
    assert ended.code == 2
    assert "this relay's own" in ended.err


def test_rejected_events_are_listed_and_exported(emulator: Emulator, shell: Shell) -> None:
    """While the relay runs, with their errors, as `masivo import` takes them again."""
    emulator.reject = lambda _: "no such brand"
    place = shell.folder / "spool"
    with relay(emulator, place) as (_, url):
        with Client(KEY, base_url=url) as client:
            client.send_analytics_event(event(7))
        emulator.wait_for(lambda _: emulator.batches)
        deadline = time.monotonic() + LIMIT
        while not (listed := shell.masivo("relay", "rejected", "--spool", str(place))).out:
            assert time.monotonic() < deadline
    (line,) = listed.out.splitlines()
    assert "no such brand" in json.loads(line)["rejected"]["reason"]
    exported = shell.masivo(
        "relay", "rejected", "--spool", str(place), "--export", "out.jsonl", "--json"
    )
    assert exported.json() == {"complete": True, "events": 1, "file": "out.jsonl"}
    assert (shell.folder / "out.jsonl").read_text() == listed.out


# ── A fleet ──────────────────────────────────────────────────────────────────────────────────

PASSWORD = "a-password-of-redis"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis with a password."""
    settings = {"requirepass": PASSWORD}
    with RedisServer(tmp_path_factory.mktemp("redis"), settings=settings) as server:
        yield f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"


@pytest.mark.full
def test_two_relays_share_a_redis(emulator: Emulator, redis_url: str) -> None:
    """By the variable alone; a token of one is good at the other, and all that either has kept is
    delivered. The password is not in what they print."""
    environ = {"MASIVO_RELAY_REDIS": redis_url}
    with relay(emulator, None, **environ) as (one, url), relay(emulator, None, **environ) as other:
        for number, base_url in enumerate((url, other[1])):
            with Client(KEY, base_url=base_url) as client:
                client.send_analytics_event(event(number))
        emulator.wait_for(lambda emulator: emulator.event_count == 2, timeout=LIMIT)
        for process in (one, other[0]):
            code, _, errors = ended(process, signal.SIGTERM)
            assert code == 0
            assert errors == f"Relay for {emulator.url}, with its events in Redis.\n"


@pytest.mark.full
def test_dead_letters_of_a_fleet(
    emulator: Emulator, shell: Shell, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a spool."""
    emulator.reject = lambda _: "no such brand"
    monkeypatch.setenv("MASIVO_RELAY_REDIS", redis_url)
    with relay(emulator, None, "--name", "letters") as (_, url):
        with Client(KEY, base_url=url) as client:
            client.send_analytics_event(event(7))
        deadline = time.monotonic() + LIMIT
        while not (listed := shell.masivo("relay", "rejected", "--name", "letters")).out:
            assert time.monotonic() < deadline
    (line,) = listed.out.splitlines()
    assert "no such brand" in json.loads(line)["rejected"]["reason"]


def test_a_redis_that_cannot_be_used_is_named_without_its_password(
    shell: Shell, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the right one nor a wrong one is shown, whether an option or the variable has it."""
    wrong = redis_url.replace(PASSWORD, "a-wrong-password")
    monkeypatch.setenv("MASIVO_RELAY_REDIS", wrong)
    ended = [shell.masivo("relay", "--port", "0")]
    for url in (wrong, "redis://:a-wrong-password@127.0.0.1:9/0", "ftp://:a-wrong-password@a"):
        ended.append(shell.masivo("relay", "rejected", "--redis", url))
        monkeypatch.setenv("MASIVO_RELAY_REDIS", url)
        ended.append(shell.masivo("relay", "rejected"))
    assert [each.err for each in ended[1::2]] == [each.err for each in ended[2::2]]
    assert "redis://127.0.0.1:9/0" in ended[3].err
    for each in ended:
        assert each.code == 2
        assert "error: " in each.err
        assert "a-wrong-password" not in each.err


def test_what_handled_a_signal_before_it_does_so_again(shell: Shell, redis_url: str) -> None:
    """A closed loop would ignore it."""
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(each) for each in ends]
    wrong = redis_url.replace(PASSWORD, "a-wrong-password")
    assert shell.masivo("relay", "--redis", wrong, "--port", "0").code == 2
    assert [signal.getsignal(each) for each in ends] == before


WITHOUT_EXTRA = """
import sys
sys.modules["starlette"] = sys.modules["uvicorn"] = sys.modules["prometheus_client"] = None
from masivo.__main__ import main
sys.exit(main())
"""


def test_without_its_extra_it_says_how_to_get_it(tmp_path: Path, emulator: Emulator) -> None:
    """The other commands need nothing of it."""
    environ = clean(os.environ) | {
        "MASIVO_API_KEY": emulator.client_key,
        "MASIVO_BASE_URL": emulator.url,
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, "relay", "--spool", tmp_path, "--port", "0"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 2
    assert "pip install 'masivo[relay]'" in done.stderr
    assert "Traceback" not in done.stderr
