"""Arbitrary bytes for an answer, over real sockets, in every world."""

from __future__ import annotations

import asyncio
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from masivo import MasivoError
from masivo._http import ThreadSender
from masivo._http.on_asyncio import Asyncio
from masivo._http.on_trio import Trio
from masivo._http.transport import Transport
from masivo.protocol import Failure, Request, Response

from .raw_server import Says, Scripted, scripted
from .responses import EXAMPLES, KEY, TOKEN, raw_responses
from .worlds import WORLDS, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from masivo._http.transport import World

pytestmark = pytest.mark.scaled

TIMEOUT = 0.25
"""Seconds for one request."""
SLACK = 4.0
"""How much longer than its timeout a request may take on a busy machine, in seconds."""
LIMIT = 30.0
"""Seconds in which all events must have an outcome."""

SAYS = st.builds(Says, raw_responses(), st.sampled_from(["close"] * 12 + ["reset"] * 3 + ["wait"]))

FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def server() -> Iterator[Scripted]:
    """A server that says what it is told to."""
    with scripted() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no ``Retry-After`` of seconds: batches fail at once, as they do after minutes."""
    monkeypatch.setattr("masivo._protocol.sending.backoff.LONGEST_HOLD", 0.3)


def by_threads(base_url: str, request: Request) -> Response | Failure:
    """Send a request as the thread client does."""
    sender = ThreadSender(partial(Transport, base_url))
    try:
        return sender.send(request)
    finally:
        sender.close()


async def in_loop(
    world: Callable[[], World], base_url: str, request: Request
) -> Response | Failure:
    """Send a request as the clients for loops do."""
    sender = Transport(base_url, world())
    try:
        return await sender.send(request)
    finally:
        await sender.aclose()


SENDERS: dict[str, Callable[[str, Request], Response | Failure]] = {
    "threads": by_threads,
    "asyncio": lambda base_url, request: asyncio.run(in_loop(Asyncio, base_url, request)),
    "trio": lambda base_url, request: trio.run(in_loop, Trio, base_url, request),
}


@pytest.mark.parametrize("world", SENDERS)
@FUZZ
@given(says=SAYS)
@example(Says(f"HTTP/1.1 {KEY} {TOKEN}\r\n\r\n".encode()))
@example(Says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "wait"))
@example(Says(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n{}", "wait"))
def test_a_request_ends(world: str, server: Scripted, says: Says) -> None:
    """Whatever bytes come back, a request ends within its timeout in a Response or a Failure, and
    no exception escapes."""
    base_url = f"http://127.0.0.1:{server.port}"
    request = Request(
        1,
        "POST",
        f"{base_url}/events",
        (("authorization", f"Bearer {TOKEN}"), ("x-api-key", KEY)),
        b"[1, 2, 3]",
        TIMEOUT,
    )
    server.script = [says]
    began = time.monotonic()
    result = SENDERS[world](base_url, request)
    assert time.monotonic() - began < TIMEOUT + SLACK
    if isinstance(result, Failure):
        assert result.reason
    else:
        assert 100 <= result.status <= 999
        assert all(name == name.lower() for name in result.headers)


@pytest.mark.usefixtures("hasty", "impatient")
@pytest.mark.parametrize("world", WORLDS)
@FUZZ
@given(script=st.lists(SAYS, min_size=1, max_size=8))
@example([Says(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")] * 8)
@example([Says(b"HTTP/1.1 503 No\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n")] * 2)
def test_every_event_has_an_outcome(
    world: str,
    server: Scripted,
    caplog: pytest.LogCaptureFixture,
    script: list[Says],
) -> None:
    """Whatever bytes come back to authorizations and batches, each event ends once: with a
    success only after a 2xx, else with a MasivoError that does not show the key."""
    caplog.clear()
    server.script, server.said = list(script), []
    event: dict[str, object] = {"type": "VIEW", "customer_id": "c", "brand_id": None}
    load = {
        "api_key": KEY,
        "base_url": f"http://127.0.0.1:{server.port}",
        "timeout": TIMEOUT,
        "max_retries": 1,
        "batch_size": 2,
    }
    (result,) = WORLDS[world](Job([(load, [event] * 5)], LIMIT, server.script.clear))
    assert result.flushed is not None
    assert result.flushed.delivered + result.flushed.failed == 5
    batches = [(head, says) for head, says in server.said if head.startswith(b"POST")]
    if result.flushed.delivered:
        assert any(b" 2" in says.data for _, says in batches)
    texts = [record.getMessage() for record in caplog.records if record.name == "masivo"]
    for delivery in result.deliveries:
        outcome = delivery.claim()
        error = getattr(outcome, "error", None)
        if error is not None:
            assert isinstance(error, MasivoError)
            texts += [repr(delivery), repr(error.details), *traceback.format_exception(error)]
    for text in texts:
        assert KEY not in text  # tokens that are echoed: test_storm, which knows when they are ours
