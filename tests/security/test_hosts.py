"""Where the key and the token go: to the configured host, and nowhere else."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from chaos.raw_server import Says, scripted
from chaos.worlds import WORLDS, Job, Result
from transport.certificates import authority_file, server_context

from masivo.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENT: dict[str, object] = {"type": "VIEW", "customer_id": "c", "brand_id": None}
LIMIT = 30.0


def send(
    world: str, key: str, base_url: str, calm: Callable[[], None] | None = None, **settings: Any
) -> Result:
    """Send an event, then another one, without repeats."""
    load = {"api_key": key, "base_url": base_url, "max_retries": 0, "timeout": 5.0, **settings}
    (result,) = WORLDS[world](Job([(load, [EVENT])], LIMIT, calm or (lambda: None)))
    return result


@pytest.mark.parametrize("route", ["authorize", "events"])
@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("world", WORLDS)
def test_no_redirect_to_another_host(
    world: str, status: int, route: str, emulator: Emulator
) -> None:
    """A redirect is an error and is not followed: the other host sees no connection, even if the
    caller's own HTTP client follows redirects."""
    kind = httpx.Client if world == "threads" else httpx.AsyncClient
    with scripted() as other:
        elsewhere = f"http://127.0.0.1:{other.port}/"
        emulator.fail(Fault(status=status, headers={"Location": elsewhere}), route=route)
        result = send(
            world,
            emulator.client_key,
            emulator.url,
            http_client=lambda: kind(follow_redirects=True, trust_env=False),
        )
        assert result.flushed is not None
        assert result.flushed.failed == 1
        assert other.said == []


@pytest.mark.parametrize("world", WORLDS)
def test_no_cookie_is_kept(world: str, emulator: Emulator) -> None:
    """What a server sets as cookies is not stored, so it cannot grow, and is not sent back."""
    fault = Fault(status=200, process=True, headers={"Set-Cookie": "grow=1; Max-Age=9999"})
    emulator.fail(fault, route="events")
    result = send(world, emulator.client_key, emulator.url)
    assert result.after is not None
    assert result.after.delivered == 1
    assert len(emulator.batches) == 2
    assert not any("cookie" in record.headers for record in emulator.requests)


@pytest.mark.parametrize("world", WORLDS)
def test_a_loopback_address_goes_through_no_proxy(
    world: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a loopback address the environment's proxies are ignored: plain http stays inside."""
    with scripted() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        result = send(world, emulator.client_key, emulator.url)
        assert result.flushed is not None
        assert result.flushed.delivered == 1
        assert proxy.said == []


@pytest.mark.parametrize("world", WORLDS)
def test_a_proxy_sees_no_secret(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any other address the environment's proxy is used, and sees the host's name alone: the
    key goes through the tunnel only, when TLS has been set up with the host itself."""
    key = "client-key-0123456789"
    with scripted() as proxy:
        proxy.script = [Says(b"HTTP/1.1 200 OK\r\n\r\n")] * 2
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        result = send(world, key, "https://masivo.invalid/v1")
        assert result.flushed is not None
        assert result.flushed.failed == 1
        heads = [head for head, _ in proxy.said]
    assert heads
    for head in heads:
        assert head.startswith(b"CONNECT masivo.invalid:443 ")
        assert key.encode() not in head


@pytest.mark.parametrize("world", WORLDS)
def test_no_other_credentials_are_sent(
    world: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    """Neither a ``.netrc`` nor the caller's client's own auth gets into a request."""
    netrc = tmp_path_factory.mktemp("home") / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password hush\n")
    monkeypatch.setenv("NETRC", str(netrc))
    kind = httpx.Client if world == "threads" else httpx.AsyncClient
    result = send(
        world,
        emulator.client_key,
        emulator.url,
        http_client=lambda: kind(auth=("someone", "hush")),
    )
    assert result.flushed is not None
    assert result.flushed.delivered == 1
    for record in emulator.requests:
        assert "basic" not in record.headers.get("authorization", "").lower()


@pytest.mark.parametrize("world", WORLDS)
def test_a_ca_of_ones_own(world: str, tmp_path: Path) -> None:
    """With an ``http_client`` that knows the CA of a server, events are delivered."""
    kind = httpx.Client if world == "threads" else httpx.AsyncClient
    trusting = ssl.create_default_context(cafile=str(authority_file(tmp_path)))
    with Emulator(ssl_context=server_context()) as emulator:
        result = send(
            world,
            emulator.client_key,
            emulator.url,
            http_client=lambda: kind(verify=trusting, trust_env=False),
        )
        assert result.flushed is not None
        assert result.flushed.delivered == 1
        assert emulator.event_count == 2
