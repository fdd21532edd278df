"""What others can see: log readers, readers of tracebacks, users of the same machine."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from chaos.worlds import WORLDS, Job

from masivo import AsyncClient, Client, MasivoConfigError, MasivoValidationError, TrioClient
from masivo.emulator import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.emulator import Emulator

CONTENT = "what-a-customer-did"
EVENT: dict[str, object] = {
    "type": "VIEW",
    "customer_id": f"{CONTENT}-id",
    "brand_id": None,
    "metadata": {"note": CONTENT},
}


def secrets(emulator: Emulator) -> set[str]:
    """The key, and the tokens that were used."""
    tokens = {each.headers["authorization"].removeprefix("Bearer ") for each in emulator.batches}
    return {emulator.client_key, *tokens}


@pytest.mark.parametrize("world", WORLDS)
def test_no_log_shows_a_secret_or_an_event(
    world: str, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """No log record of any library, at any level, shows key, token or an event's content, while
    events are delivered, refused and lost."""
    caplog.set_level(logging.DEBUG)
    for fault in (Fault(status=503), Fault(status=400), Fault(close=True), Fault(truncate=3)):
        emulator.fail(fault, route="events")
    settings = {
        "api_key": emulator.client_key,
        "base_url": emulator.url,
        "batch_size": 2,
        "max_retries": 0,
    }
    WORLDS[world](Job([(settings, [EVENT] * 12)], 30.0))
    assert len(emulator.batches) > 4
    hidden = {*secrets(emulator), CONTENT}
    for record in caplog.records:
        shown = f"{record.getMessage()} {record.args}"
        assert not any(secret in shown for secret in hidden), record


@pytest.mark.parametrize("refused", ["key", "event", "answer", "closed"])
def test_a_traceback_with_local_variables_shows_no_key(refused: str, emulator: Emulator) -> None:
    """Error reporters print the local variables of every frame: none of ours holds the key or the
    token in the clear."""
    key = emulator.client_key if refused != "key" else "key with a blank 0123456789"
    emulator.fail(Fault(status=400), route="events")
    shown = ""
    try:
        with Client(key, base_url=emulator.url) as client:
            event = EVENT if refused != "event" else {"type": 3}
            delivery = client.send_analytics_event(event)
            client.flush(10)
            if refused == "closed":
                client.close()
                client.flush(1)
            delivery.result(10)
    except Exception as error:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        # The frames of this test hold the key: it is the caller's own.
        report.stack[:] = [frame for frame in report.stack if frame.filename != __file__]
        shown = "".join(report.format())
    assert shown
    for secret in {key, *secrets(emulator)}:
        assert secret not in shown


@pytest.mark.parametrize("kind", [Client, AsyncClient, TrioClient])
@pytest.mark.parametrize("source", ["argument", "environment"])
def test_a_wrong_constructor_shows_no_key(
    kind: Any, source: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the constructor does not show the key, whichever argument is wrong, and wherever
    the key comes from."""
    given = emulator.client_key if source == "argument" else None
    if given is None:
        monkeypatch.setenv("MASIVO_API_KEY", emulator.client_key)
    wrong: list[dict[str, Any]] = [
        {"base_url": "ftp://x"},
        {"batch_size": 0},
        {"on_error": 3},
        {"http_client": 3},
        {"api": 3},
        {"timeout": "x"},
    ]
    for arguments in wrong:
        with pytest.raises(MasivoConfigError) as caught:
            kind(given, **arguments)
        assert emulator.client_key not in full_traceback(caught.value)


def full_traceback(error: BaseException) -> str:
    """A traceback with the local variables of our frames."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    report.stack[:] = [frame for frame in report.stack if frame.filename != __file__]
    return "".join(report.format())


@pytest.mark.parametrize(
    "arguments",
    [
        {"base_url": "https://user:hidden/hidden@host"},
        {"base_url": "https://user:hidden@hidden@host/path"},
        {"base_url": "https://user:hidden#hidden?hidden@host"},
        {"base_url": "user:hidden@host"},
        {"api_kye": "hidden"},
        {"key": "hidden"},
    ],
    ids=str,
)
def test_a_wrong_constructor_shows_no_password(arguments: dict[str, str]) -> None:
    """Neither the error for a wrong argument nor its traceback, local variables included, shows a
    password in an address, or a key under a wrong name."""
    options: dict[str, Any] = arguments
    with pytest.raises((MasivoConfigError, TypeError)) as caught:
        Client("some key", **options)
    assert "hidden" not in full_traceback(caught.value)


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["ftp://user:hidden@host", "http://user:hidden@host:99999"])
def test_a_wrong_proxy_shows_no_password(
    variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the error for a wrong proxy setting nor its traceback, local variables included,
    shows its password."""
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(MasivoConfigError, match="proxy") as caught:
        Client("some-key", base_url="https://masivo.invalid")
    assert "hidden" not in full_traceback(caught.value)


def test_nothing_with_a_secret_is_pickled(emulator: Emulator) -> None:
    """What holds the key cannot be pickled into a file or a queue by mistake; an error can be, and
    does not hold it."""
    with Client(emulator.client_key, base_url=emulator.url) as client:
        delivery = client.send_analytics_event(EVENT)
        for holder in (client, delivery):
            with pytest.raises(TypeError):
                pickle.dumps(holder)
        with pytest.raises(MasivoValidationError) as caught:
            client.send_analytics_event({})
        assert emulator.client_key.encode() not in pickle.dumps(caught.value)


WATCHED = """
import sys
seen = []

def watch(name, arguments):
    if name == "open" and (str(arguments[1] or "r")[0] in "wax+" or (arguments[2] or 0) & 3):
        seen.append((name, arguments[0]))
    if name in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "socket.bind",
                "os.putenv", "os.chmod", "os.rename", "os.mkdir", "shutil.copyfile"}:
        seen.append((name, arguments[:1]))
    if name == "socket.connect" and arguments[1][0] not in ("127.0.0.1", "::1"):
        seen.append((name, arguments[1]))

from masivo import AsyncClient, Client, TrioClient
import asyncio, httpx, trio, masivo.protocol
sys.addaudithook(watch)
event = {"type": "VIEW", "customer_id": "c", "brand_id": None}
with Client() as client:
    client.send_analytics_event(event)

async def loop(kind):
    async with kind() as client:
        client.send_analytics_event(event)

asyncio.run(loop(AsyncClient))
trio.run(loop, TrioClient)
print([each for each in seen if "/dev/null" not in str(each)])
"""


def test_nothing_is_left_on_the_machine(tmp_path: Path, emulator: Emulator) -> None:
    """For other users of the machine there is nothing to find: no client writes a file, starts a
    process, listens on a socket, or puts anything into the environment or its command line; its
    connections go to the configured host."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED],
        env={"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": emulator.url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"
    assert emulator.event_count == 3
    assert list(tmp_path.iterdir()) == []
