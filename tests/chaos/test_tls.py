"""TLS for real: certificates that cannot be trusted, and a CA of one's own."""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

from masivo import MasivoError, MasivoNetworkError
from masivo.emulator import Emulator

from .raw_server import scripted
from .worlds import WORLDS, Job, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT: dict[str, object] = {"type": "VIEW", "customer_id": "c", "brand_id": None}
LIMIT = 30.0


@cache
def authority() -> trustme.CA:
    """A certificate authority that nobody knows."""
    return trustme.CA()


def server_context(*names: str) -> ssl.SSLContext:
    """What a server needs to speak TLS under these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate: Any = authority().issue_cert(*names)  # it takes an OpenSSL context too, untyped
    certificate.configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    """A client's context that knows the authority."""
    context = ssl.create_default_context()
    known: Any = authority()
    known.configure_trust(context)
    return context


@pytest.fixture
def secure() -> Iterator[Emulator]:
    """An emulator that speaks https with a certificate that nobody trusts."""
    with Emulator(ssl_context=server_context("127.0.0.1", "localhost")) as emulator:
        yield emulator


def sent(world: str, key: str, base_url: str, **settings: Any) -> tuple[Result, MasivoError | None]:
    """Send one event without repeats; the result, and the error of the first event."""
    load = {"api_key": key, "base_url": base_url, "max_retries": 0, "timeout": 5.0, **settings}
    (result,) = WORLDS[world](Job([(load, [EVENT])], LIMIT))
    outcome = result.deliveries[0].claim()
    error = getattr(outcome, "error", None)
    assert error is None or isinstance(error, MasivoError)
    return result, error


def client_maker(world: str, verify: ssl.SSLContext) -> Any:
    """A function for ``http_client`` that makes a client of the world's kind."""
    kind = httpx.Client if world == "threads" else httpx.AsyncClient
    return lambda: kind(verify=verify, trust_env=False)


@pytest.mark.parametrize("world", WORLDS)
def test_a_certificate_of_an_unknown_ca_is_refused(world: str, secure: Emulator) -> None:
    """A certificate that nobody vouches for is a MasivoNetworkError that says so, and what to do;
    the server sees no request at all, so no key."""
    _, error = sent(world, secure.client_key, secure.url)
    assert isinstance(error, MasivoNetworkError)
    assert "certificate" in error.message
    assert "http_client" in error.message
    assert "nothing was sent" in error.message
    assert secure.requests == []


@pytest.mark.parametrize("world", WORLDS)
def test_a_certificate_for_another_host_is_refused(world: str) -> None:
    """So is one of a trusted CA for another name."""
    with Emulator(ssl_context=server_context("other.example")) as emulator:
        _, error = sent(
            world,
            emulator.client_key,
            emulator.url,
            http_client=client_maker(world, trusting()),
        )
        assert isinstance(error, MasivoNetworkError)
        assert "certificate" in error.message
        assert emulator.requests == []


@pytest.mark.parametrize("world", WORLDS)
def test_a_ca_of_ones_own(world: str, secure: Emulator) -> None:
    """With an ``http_client`` that knows the CA, events are delivered."""
    result, error = sent(
        world,
        secure.client_key,
        secure.url,
        http_client=client_maker(world, trusting()),
    )
    assert error is None
    assert result.flushed is not None
    assert result.flushed.delivered == 1
    assert secure.event_count == 2


@pytest.mark.parametrize("world", WORLDS)
def test_a_server_without_tls(world: str) -> None:
    """A server that does not speak TLS is a MasivoNetworkError."""
    with Emulator() as emulator:
        base_url = emulator.url.replace("http:", "https:")
        _, error = sent(world, emulator.client_key, base_url)
        assert isinstance(error, MasivoNetworkError)
        assert "no secure connection" in error.message
        assert emulator.requests == []


@pytest.mark.parametrize("world", WORLDS)
def test_a_handshake_that_stalls(world: str) -> None:
    """A handshake that never ends is a MasivoNetworkError when the timeout is over, and its
    connection is closed, not left to the garbage collector."""
    with scripted() as server:
        base_url = f"https://127.0.0.1:{server.port}"
        _, error = sent(world, "some-client-key", base_url, timeout=0.5)
        assert isinstance(error, MasivoNetworkError)
        assert "within 0.5 s" in error.message
        assert server.said == []


@pytest.mark.parametrize("world", WORLDS)
def test_an_old_version_of_tls_is_refused(world: str) -> None:
    """Nothing is sent over a TLS version that is broken."""
    context = server_context("127.0.0.1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLS"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Emulator(ssl_context=context) as emulator:
        _, error = sent(
            world,
            emulator.client_key,
            emulator.url,
            http_client=client_maker(world, trusting()),
        )
        assert isinstance(error, MasivoNetworkError)
        assert emulator.requests == []
