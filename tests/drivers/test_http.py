"""The caller's ``http_client`` with threads: both families, functions, odd transports."""

from __future__ import annotations

import threading
import time
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from transport.server import Peer, Server

from masivo import (
    FlushResult,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
)
from masivo.emulator import Emulator, Fault

from .events import arrived, event, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Connect

FAMILIES = "httpx", "httpx2"
"""The HTTP libraries whose clients are accepted."""


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    """Each HTTP library in turn."""
    pytest.importorskip(request.param, reason="httpx2 is an optional extra")
    return import_module(request.param)


def test_a_client_of_the_callers_is_used_and_left_open(
    connect: Connect, emulator: Emulator, family: Any
) -> None:
    """Requests go through the caller's client, which outlives the package's."""
    with family.Client(headers={"x-mine": "yes"}) as mine:
        client = connect(http_client=mine)
        client.send_analytics_event(event(1))
        assert client.flush(5) == FlushResult(1, 0)
        client.close()
        assert {request.headers["x-mine"] for request in emulator.requests} == {"yes"}
        assert not mine.is_closed


def test_a_function_makes_a_client_that_is_closed(
    connect: Connect, emulator: Emulator, family: Any
) -> None:
    """What a function makes belongs to the package: made once, at the first need; closed."""
    made: list[Any] = []

    def make() -> Any:
        made.append(family.Client())
        return made[-1]

    client = connect(http_client=make)
    assert made == []
    client.send_analytics_event(event(1))
    assert client.flush(5).delivered == 1
    client.close()
    assert len(made) == 1
    until(lambda: made[0].is_closed)
    assert arrived(emulator) == [1]


def test_a_client_that_a_function_made_outlives_its_requests(connect: Connect, family: Any) -> None:
    """It is closed once none of its requests is out, also where their events have been given up:
    no request is cut off by it."""
    out, go = threading.Event(), threading.Event()
    closed: list[bool] = []

    def hang(request: Any) -> Any:
        if request.method == "POST":
            out.set()
            go.wait(10)
            closed.append(made[0].is_closed)
        return family.Response(200, json={"data": "a-token"})

    made = [family.Client(transport=family.MockTransport(hang))]
    client = connect(http_client=lambda: made[0], batch_size=1)
    delivery = client.send_analytics_event(event())
    assert out.wait(10)
    client.destroy()
    assert isinstance(delivery.exception(10), MasivoClosedError)
    go.set()
    until(lambda: made[0].is_closed)
    assert closed == [False]


def test_a_client_of_the_other_kind_is_refused(connect: Connect, family: Any) -> None:
    """A client for loops is refused at construction."""
    with pytest.raises(MasivoConfigError, match="http_client"):
        connect(http_client=family.AsyncClient())


@pytest.mark.parametrize("wrong", ["httpx", 7, object(), [], {}])
def test_something_else_is_refused(connect: Connect, wrong: object) -> None:
    """What is neither a client nor callable is refused at construction."""
    with pytest.raises(MasivoConfigError, match="http_client"):
        connect(http_client=wrong)


def test_a_coroutine_function_is_refused(connect: Connect) -> None:
    """Nobody would await a coroutine function that should make a client."""

    async def make() -> None: ...

    with pytest.raises(MasivoConfigError, match="http_client"):
        connect(http_client=make)


def _raises() -> Any:
    raise RuntimeError("no client today")


@pytest.mark.parametrize(
    ("function", "says"),
    [(dict, "dict"), (lambda: None, "NoneType"), (_raises, "no client today")],
)
def test_a_function_that_makes_no_client(
    connect: Connect, emulator: Emulator, function: Callable[[], Any], says: str
) -> None:
    """A function that raises or makes something else fails the events, at once, and says so."""
    client = connect(http_client=function)
    delivery = client.send_analytics_event(event(1))
    error = delivery.exception(5)
    assert isinstance(error, MasivoConfigError)
    assert says in error.message
    with pytest.raises(MasivoConfigError):
        client.get_token(5)
    client.close()
    assert emulator.requests == []


def test_the_callers_timeout_gives_way(connect: Connect, emulator: Emulator, family: Any) -> None:
    """``timeout`` is the client's, whatever the caller's HTTP client says."""
    emulator.fail(Fault(delay=0.3), route="events", times=None)
    with family.Client(timeout=None) as patient, family.Client(timeout=0.01) as hasty:
        one = connect(http_client=patient, timeout=0.1, max_retries=0)
        two = connect(http_client=hasty)
        first = one.send_analytics_event(event(1))
        two.send_analytics_event(event(2))
        assert one.flush(5).failed == 1
        assert two.flush(5).delivered == 1
        assert isinstance(first.exception(0), MasivoNetworkError)
        one.close()
        two.close()


def test_a_narrow_pool_is_waited_for(connect: Connect, emulator: Emulator) -> None:
    """A pool of one connection serves clients that would like more at once.

    With httpx2 only: the pool of httpx 0.28 (httpcore 1.0) breaks requests of several threads
    that wait for one connection, with or without this package.
    """
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 is an optional extra")
    with httpx2.Client(limits=httpx2.Limits(max_connections=1)) as mine:
        client = connect(http_client=mine, max_in_flight=4, batch_size=5)
        for n in range(100):
            client.send_analytics_event(event(n, customer_id=f"c-{n}"))
        assert client.flush(10) == FlushResult(100, 0)
        assert sorted(arrived(emulator)) == list(range(100))
        client.close()


# ── What a transport can raise ───────────────────────────────────────────────────────────────


class OddError(Exception):
    """Has no text, is equal to nothing, and is proud of it."""

    def __str__(self) -> str:
        raise ValueError("no text")

    def __repr__(self) -> str:
        raise ValueError("no text")

    def __eq__(self, other: object) -> bool:
        raise ValueError("not comparable")

    __hash__ = Exception.__hash__


def _circular() -> Exception:
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__context__ = two, one
    return one


ODD: dict[str, Callable[[], BaseException]] = {
    "no text": OddError,
    "a circle": _circular,
    "an assertion": AssertionError,
    "a system error": lambda: SystemError("\ud800"),
    "a group": lambda: ExceptionGroup("many", [ValueError("one"), OddError()]),
    "out of memory": MemoryError,
    "recursion": RecursionError,
    "a key": lambda: KeyError("x"),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "stop": StopIteration,
    "an exit": lambda: SystemExit(3),
    "an interrupt": KeyboardInterrupt,
    "a generator's end": GeneratorExit,
}


@pytest.mark.parametrize("name", ODD)
def test_whatever_a_transport_raises_is_a_failure(
    connect: Connect, emulator: Emulator, name: str
) -> None:
    """No exception of a transport escapes: the event fails, and the next one is
    tried again."""
    calls: list[int] = []

    def handle(_request: Any) -> Any:
        calls.append(1)
        odd = ODD[name]()
        raise odd

    with httpx.Client(transport=httpx.MockTransport(handle)) as mine:
        client = connect(http_client=mine, max_retries=0)
        delivery = client.send_analytics_event(event(1))
        assert isinstance(delivery.exception(10), MasivoNetworkError)
        assert len(calls) == 1
        later = client.send_analytics_event(event(2))
        assert isinstance(later.exception(10), MasivoNetworkError)
        client.close()
    assert emulator.requests == []


@pytest.mark.parametrize("route", ["authorize", "events"])
def test_a_status_that_is_no_number_is_a_failure(connect: Connect, route: str) -> None:
    """A stand-in for a transport that answers with a status of text: the event fails."""

    def handle(request: Any) -> Any:
        response = httpx.Response(200, json={"data": PLAIN_TOKEN})
        if (request.method == "GET") is (route == "authorize"):
            response.status_code = cast("int", "200")
        return response

    with httpx.Client(transport=httpx.MockTransport(handle)) as mine:
        client = connect(http_client=mine, max_retries=0, batch_size=1)
        delivery = client.send_analytics_event(event(1))
        assert isinstance(delivery.exception(10), MasivoNetworkError)
        client.close()


# ── Causes without secrets ───────────────────────────────────────────────────────────────────

PLAIN_TOKEN = "token-4711-0815"
PLAIN_KEY = "key-0190-6660"


def shown(error: BaseException) -> str:
    """All that a report of the error shows: texts, locals of every frame, what causes carry.

    Of every frame but the first: that is the test's own, which knows the secrets.
    """
    assert error.__traceback__ is not None
    report = traceback.TracebackException(
        type(error), error, error.__traceback__.tb_next, capture_locals=True
    )
    text = "".join(report.format())
    assert "_wait" in text
    each: BaseException | None = error
    while each is not None:
        text += f"{each.args!r} {vars(each)!r}"
        each = each.__cause__ or each.__context__
    return text


BROKEN = {
    "refused": ("refused", None),
    "closed": ("events", Fault(close=True)),
    "cut": ("events", Fault(truncate=3)),
    "garbage": ("events", Fault.garbage()),
    "late": ("events", Fault(delay=5)),
    "late authorization": ("authorize", Fault(delay=5)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_cause_is_kept_without_its_request(connect: Connect, name: str) -> None:
    """``__cause__`` is the transport's exception; nothing of it leads to key or token."""
    route, fault = BROKEN[name]
    with Emulator(client_key=PLAIN_KEY) as emulator:
        client = connect(
            api_key=PLAIN_KEY,
            base_url=emulator.url,
            max_retries=0,
            timeout=0.5 if "late" in name else 10.0,
            batch_size=1,
        )
        token = "?" * 20
        if route != "authorize":
            token = client.get_token(5)
        if fault is None:
            emulator.stop()
        else:
            emulator.fail(fault, route=route)
        delivery = client.send_analytics_event(event(1))
        with pytest.raises(MasivoNetworkError) as caught:
            delivery.result(10)
        client.destroy()
    cause = caught.value.__cause__
    assert cause is not None
    assert "None" not in str(cause)
    while cause is not None:
        assert cause.__traceback__ is None
        for name_ in ("_request", "request", "response"):
            assert vars(cause).get(name_) is None
        cause = cause.__cause__ or cause.__context__
    text = shown(caught.value)
    assert PLAIN_KEY not in text
    assert token not in text


class _CarryingError(Exception):
    """Carries what it knows."""

    def __init__(self, message: str, request: Any) -> None:
        super().__init__(message, request)
        self.request = request
        self.seen = dict(request.headers)


@pytest.mark.parametrize("route", ["authorize", "events"])
def test_what_a_transport_tells_is_redacted(connect: Connect, route: str) -> None:
    """A transport whose exception quotes or carries the request does not give it away."""

    def handle(request: Any) -> Any:
        if request.url.path.endswith(route) or (route, request.method) == ("events", "POST"):
            message = f"cannot send {dict(request.headers)}"
            raise _CarryingError(message, request) from RuntimeError(message)
        return httpx.Response(200, json={"data": PLAIN_TOKEN})

    with httpx.Client(transport=httpx.MockTransport(handle)) as mine:
        client = connect(api_key=PLAIN_KEY, http_client=mine, max_retries=0, batch_size=1)
        with pytest.raises(MasivoNetworkError) as caught:
            client.send_analytics_event(event(1)).result(10)
        client.close()
    text = shown(caught.value)
    assert "_CarryingError" in text
    assert PLAIN_KEY not in text
    assert PLAIN_TOKEN not in text


def test_a_status_error_of_the_callers_hook_is_stripped(
    connect: Connect, emulator: Emulator
) -> None:
    """A hook that calls ``raise_for_status`` makes an exception that holds the response, which
    holds the request: neither survives."""
    mine = httpx.Client(event_hooks={"response": [httpx.Response.raise_for_status]})
    emulator.fail(Fault(status=403), route="events")
    client = connect(http_client=mine, max_retries=0, batch_size=1)
    token = client.get_token(5)
    with pytest.raises(MasivoError) as caught:
        client.send_analytics_event(event(1)).result(10)
    cause = caught.value.__cause__
    assert type(cause).__name__ == "HTTPStatusError"
    assert vars(cause)["response"] is None
    assert token not in shown(caught.value)
    client.close()
    mine.close()


def test_an_answer_that_echoes_the_secrets_is_redacted(
    connect: Connect, emulator: Emulator
) -> None:
    """What the server writes goes into errors without the key and the token."""
    client = connect(batch_size=1)
    token = client.get_token(5)
    echo = {"error": f"bad {token}", "details": {"key": emulator.client_key, "t": [token]}}
    emulator.fail(Fault(status=403, body=echo), route="events")
    with pytest.raises(MasivoError) as caught:
        client.send_analytics_event(event(1)).result(10)
    assert token not in shown(caught.value)
    assert emulator.client_key not in shown(caught.value)


def test_a_body_that_a_hook_has_read_is_bounded(connect: Connect, emulator: Emulator) -> None:
    """A body that a hook of the caller's HTTP client has read bypasses the bound; the response is
    malformed all the same."""

    def read(response: httpx.Response) -> None:
        response.read()

    emulator.fail(Fault(size=(1 << 20) + 1), route="events")
    with httpx.Client(event_hooks={"response": [read]}) as http:
        client = connect(http_client=http, batch_size=1)
        error = client.send_analytics_event(event(1)).exception(10)
        assert isinstance(error, MasivoNetworkError)
        assert error.status == 200
        assert client.send_analytics_event(event(2)).result(10).success
        client.close()


# ── Proxies ──────────────────────────────────────────────────────────────────────────────────


def drip_a_head(peer: Peer) -> None:
    """Send a head for ever, a line at a time."""
    peer.head()
    peer.say(b"HTTP/1.1 200 OK\r\n")
    while not peer.server.over.wait(0.05):
        peer.say(b"x: y\r\n")
    peer.close()


def sip(peer: Peer) -> None:
    """Read a little at a time, for ever."""
    while not peer.server.over.wait(0.05) and peer.socket.recv(1):
        pass


@pytest.mark.parametrize("talk", [drip_a_head, sip])
def test_a_whole_request_over_a_client_of_the_callers_is_bounded(
    connect: Connect, talk: Callable[[Peer], None]
) -> None:
    """``timeout`` bounds the whole request, not each step of it, whatever the server does: a
    thread that is in such a step is not waited for
    (``docs/reference/guarantees.md#timeout-of-a-request``)."""
    with Server(talk, receives=4096) as server, httpx.Client() as mine:
        url = f"http://127.0.0.1:{server.port}/v1"
        settings = {"base_url": url, "http_client": mine, "timeout": 0.5}
        key = "k" * (3_000_000 if talk is sip else 30)
        client = connect(api_key=key, **settings, max_retries=0)
        began = time.monotonic()
        with pytest.raises(MasivoNetworkError, match=r"within 0\.5 s"):
            client.get_token(20)
        assert 0.45 < time.monotonic() - began < 5
        client.destroy()


def test_a_whole_request_through_a_proxy_is_bounded(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is through a proxy that takes its time, then gives a greeting without a response."""

    def slow(peer: Peer) -> None:
        peer.head()
        peer.server.over.wait(0.4)
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.server.over.wait(20)

    with Server(slow) as server:
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
        client = connect(
            api_key=PLAIN_KEY, base_url="https://masivo.invalid/v1", max_retries=0, timeout=0.5
        )
        began = time.monotonic()
        with pytest.raises(MasivoNetworkError, match=r"within 0\.5 s"):
            client.get_token(20)
        assert time.monotonic() - began < 5
        client.destroy()
