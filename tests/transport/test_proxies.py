"""Which proxy of the environment applies, and the way through it."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from masivo import MasivoConfigError
from masivo._http import proxies, tls
from masivo._http.by_httpx import HttpxTransport
from masivo._http.openers import opener_of
from masivo._http.proxies import Proxy, proxy_for
from masivo._http.sockets import Threads
from masivo._http.transport import Transport
from masivo.protocol import Failure, Response

from .certificates import authority_file, server_context
from .server import OK, Peer, Server
from .worlds import sender_in, to

if TYPE_CHECKING:
    from pathlib import Path

    from masivo._http.openers import Kind

BASE = "https://api.example.com/v1"
LOCAL = "http://127.0.0.1:1"
PROXY = "http://proxy.example:3128"
SECRET = "s3cret"


# ── Which variable ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY, "http_proxy": PROXY}, None),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "http://other:1"}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        ({"all_proxy": PROXY, "ALL_PROXY": "http://other:1"}, PROXY),
        ({"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "", "NO_PROXY": "*"}, PROXY),
        # What would not be used is not looked at.
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "rubbish://"}, PROXY),
        ({"HTTPS_PROXY": "rubbish://", "NO_PROXY": "example.com"}, None),
        ({"ALL_PROXY": "socks5://s", "NO_PROXY": "example.com,fd00::/8"}, None),
    ],
)
def test_which_variable_counts(environ: dict[str, str], url: str | None) -> None:
    """``HTTPS_PROXY``, then ``ALL_PROXY``; lower case wins; ``NO_PROXY`` excludes."""
    proxy = proxy_for(BASE, environ.get)
    assert (proxy and proxy.url) == url


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127.8.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_has_no_proxy(scheme: str, host: str) -> None:
    """A loopback address ignores the settings, wrong ones too."""
    environ = {"HTTPS_PROXY": "rubbish://", "HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}
    assert proxy_for(f"{scheme}://{host}:8080/v1", environ.get) is None


# ── NO_PROXY ─────────────────────────────────────────────────────────────────────────────────

NAME, V4, V6 = "https://api.example.com", "https://10.1.2.3:8443", "https://[fd00::12]"
EXCLUDED = [
    # entry, base_url, whether it is excluded
    ("api.example.com", NAME, True),
    ("API.Example.COM", NAME, True),
    ("example.com", NAME, True),
    (".example.com", NAME, True),
    ("*.example.com", NAME, True),
    ("example.com.", NAME, True),
    ("api.example.com", f"{NAME}.", True),
    ("com", NAME, True),
    ("*", NAME, True),
    ("*", V6, True),
    ("pi.example.com", NAME, False),
    ("ample.com", NAME, False),
    ("www.api.example.com", NAME, False),
    ("example.org", NAME, False),
    ("", NAME, False),
    (".", NAME, False),
    ("*.", NAME, False),
    ("api.example.com:443", NAME, True),
    ("example.com:443", NAME, True),
    ("api.example.com:8443", NAME, False),
    ("api.example.com:", NAME, False),
    ("api.example.com:https", NAME, False),
    pytest.param(f"api.example.com:{'9' * 5000}", NAME, False, id="a long port"),
    ("10.0.0.0/8:8443", V4, True),
    ("10.0.0.0/8:443", V4, False),
    ("localhost,fd00::/8", NAME, False),
    ("localhost, .example.com", NAME, True),
    ("localhost .example.com", NAME, True),
    ("localhost,,  ,example.com,", NAME, True),
    ("10.1.2.3", V4, True),
    ("10.1.2.3:8443", V4, True),
    ("10.1.2.3:443", V4, False),
    ("10.0.0.0/8", V4, True),
    ("10.9.9.9/8", V4, True),
    ("10.2.0.0/16", V4, False),
    ("10.1.2.3/33", V4, False),
    ("10.1.2", V4, False),
    ("2.3", V4, False),
    (".3", V4, False),
    ("fd00::12", V6, True),
    ("FD00:0::12", V6, True),
    ("[fd00::12]", V6, True),
    ("[fd00::12]:443", V6, True),
    ("[fd00::12]:444", V6, False),
    ("fd00::/8", V6, True),
    ("fe80::/10", V6, False),
    ("10.0.0.0/8", V6, False),
    ("fd00::/8", V4, False),
    ("::", V6, False),
    ("[", V6, False),
    ("[]", V6, False),
    (":443", NAME, False),
    ("http://api.example.com", NAME, False),
]


@pytest.mark.parametrize(("entry", "base_url", "excluded"), EXCLUDED)
def test_no_proxy(entry: str, base_url: str, excluded: bool) -> None:
    """Names with what is below them, addresses, networks, ports."""
    proxy = proxy_for(base_url, {"HTTPS_PROXY": PROXY, "NO_PROXY": entry}.get)
    assert (proxy is None) is excluded


# ── The proxy's address ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        (PROXY, Proxy(PROXY, None)),
        ("proxy.example:3128", Proxy(PROXY, None)),
        (" HTTP://proxy.example:3128/ ", Proxy(PROXY + "/", None)),
        ("https://proxy.example", Proxy("https://proxy.example", None)),
        ("http://[::1]:3128", Proxy("http://[::1]:3128", None)),
        ("http://user:pass@p:1", Proxy("http://p:1", ("user", "pass"))),
        ("http://user@p:1", Proxy("http://p:1", ("user", ""))),
        ("user:p@ss/w#rd@p:1", Proxy("http://p:1", ("user", "p@ss/w#rd"))),
        ("http://us%40er:p%3Ass@p:1", Proxy("http://p:1", ("us@er", "p:ss"))),
    ],
)
def test_good_addresses(value: str, proxy: Proxy) -> None:
    """With or without scheme, user and port."""
    assert proxy_for(BASE, {"HTTPS_PROXY": value}.get) == proxy
    assert SECRET not in repr(Proxy("http://p:1", ("user", SECRET)))


@pytest.mark.parametrize(
    "value",
    [
        "ftp://proxy.example:21",
        f"ftp://user:{SECRET}@proxy.example",
        f"http://user:{SECRET}",
        f"http://user:{SECRET}@",
        f"http://{SECRET}:x@proxy.example:port",
        f"{SECRET}@http://proxy.example",
        f"http://user:{SECRET}@proxy.example:65536",
        pytest.param(f"http://user:{SECRET}@proxy.example:{'9' * 5000}", id="a long port"),
        f"http://user:{SECRET}@proxy example:1",
        "http://proxy.example:0",
        "http://",
        "://",
        f"socks4://user:{SECRET}@proxy.example",
        f"http://proxy.example/{SECRET}",
        f"http://proxy.example?{SECRET}",
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
def test_wrong_addresses(name: str, value: str) -> None:
    """Refused with the variable's name and its value, without credentials."""
    with pytest.raises(MasivoConfigError, match=name) as caught:
        proxy_for(BASE, {name: value}.get)
    assert SECRET not in caught.value.message
    assert "://" in caught.value.message


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (f"ftp://user:{SECRET}@proxy.example:21", "'ftp://***@proxy.example:21'"),
        (f"http://user:{SECRET}@proxy example:1", "'http://***@...'"),
        (f"user:{SECRET}@proxy example:1", "'http://***@...'"),
        (f"user:{SECRET}://proxy", "'...://proxy'"),
    ],
)
def test_a_wrong_address_is_shown_without_credentials(value: str, shown: str) -> None:
    """Stars take their place; what cannot be read is not shown at all."""
    with pytest.raises(MasivoConfigError) as caught:
        proxy_for(BASE, {"HTTPS_PROXY": value}.get)
    assert f"HTTPS_PROXY is {shown}, which is no proxy" in caught.value.message


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks_needs_an_extra(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the error names it; with it the proxy is used."""
    environ = {"ALL_PROXY": f"{scheme}://user:{SECRET}@proxy.example:1080"}
    installed: dict[str, object] = {}
    monkeypatch.setattr(proxies, "find_spec", installed.get)
    with pytest.raises(MasivoConfigError, match=r"masivo\[socks\]") as caught:
        proxy_for(BASE, environ.get)
    assert "ALL_PROXY" in caught.value.message
    assert SECRET not in caught.value.message
    installed["socksio"] = object()
    assert proxy_for(BASE, environ.get) == Proxy(f"{scheme}://proxy.example:1080", ("user", SECRET))


# ── Through it ───────────────────────────────────────────────────────────────────────────────


def _send(kind: Kind, world: str, environ: dict[str, str]) -> Response | Failure:
    opener = opener_of(None, kind, BASE, lookup=environ.get)
    request = to(BASE, timeout=5)
    if world == "threads":
        sender = sender_in(world, opener)
        result: Response | Failure = sender.send(request)
        sender.close()
        return result

    async def main() -> Response | Failure:
        sender = sender_in(world, opener)
        result: Response | Failure = await sender.send(request)
        await sender.aclose()
        return result

    return asyncio.run(main()) if world == "asyncio" else trio.run(main)


@pytest.mark.parametrize(
    ("kind", "world"), [("Client", "threads"), ("AsyncClient", "asyncio"), ("AsyncClient", "trio")]
)
@pytest.mark.usefixtures("trusted")
def test_a_proxy_that_refuses(kind: Kind, world: str) -> None:
    """It is asked for a tunnel, with the credentials, and sees nothing else; the failure names it,
    whatever the environment says by now."""
    heard: list[bytes] = []

    def talk(peer: Peer) -> None:
        heard.append(peer.head())
        peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with Server(talk) as server:
        failure = _send(kind, world, {"HTTPS_PROXY": f"http://user:pass@127.0.0.1:{server.port}"})
    assert isinstance(failure, Failure)
    assert "proxy" in failure.reason
    assert heard[0].startswith(b"CONNECT api.example.com:443")
    assert b"Proxy-Authorization: Basic" in heard[0]
    assert b"/v1" not in heard[0]


@pytest.mark.parametrize(
    ("kind", "world"), [("Client", "threads"), ("AsyncClient", "asyncio"), ("AsyncClient", "trio")]
)
def test_a_proxy_that_speaks_tls(
    kind: Kind, world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate is checked as the API's is, and not by what httpx trusts besides."""
    context = ssl.create_default_context(cafile=authority_file(tmp_path))
    monkeypatch.setattr(tls, "client_context", lambda: context)
    heard: list[bytes] = []

    def talk(peer: Peer) -> None:
        heard.append(peer.head())
        peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with Server(talk, tls=server_context()) as server:
        failure = _send(kind, world, {"HTTPS_PROXY": f"https://127.0.0.1:{server.port}"})
    assert isinstance(failure, Failure)
    assert "403" in failure.reason
    assert heard[0].startswith(b"CONNECT api.example.com:443")


@pytest.mark.parametrize(
    ("kind", "world"), [("Client", "threads"), ("AsyncClient", "asyncio"), ("AsyncClient", "trio")]
)
@pytest.mark.usefixtures("trusted")
def test_a_tunnel(kind: Kind, world: str) -> None:
    """The API's certificate is checked by the certificates of the environment; the connection is
    closed with the sender."""
    closed: list[bool] = []

    def talk(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 200 Connected\r\n\r\n")
        peer.socket = server_context("api.example.com").wrap_socket(peer.socket, server_side=True)
        assert peer.request()
        peer.say(OK)
        closed.append(peer.request() == b"")

    with Server(talk) as server:
        response = _send(kind, world, {"HTTPS_PROXY": f"http://127.0.0.1:{server.port}"})
    assert isinstance(response, Response)
    assert response.status == 200
    assert closed == [True]


@pytest.mark.parametrize(
    ("kind", "world"), [("Client", "threads"), ("AsyncClient", "asyncio"), ("AsyncClient", "trio")]
)
def test_an_unknown_authority_behind_a_proxy(kind: Kind, world: str) -> None:
    """The failure says so, and how to trust a CA of one's own."""

    def talk(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 200 Connected\r\n\r\n")
        peer.socket = server_context("api.example.com").wrap_socket(peer.socket, server_side=True)

    with Server(talk) as server:
        failure = _send(kind, world, {"HTTPS_PROXY": f"http://127.0.0.1:{server.port}"})
    assert isinstance(failure, Failure)
    assert not failure.sent
    assert "certificate verify failed" in failure.reason
    assert "SSL_CERT_FILE" in failure.reason


def test_without_a_proxy_there_is_no_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then connections of our own are used."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    excluded = opener_of(None, "Client", BASE, lookup={"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}.get)
    assert isinstance(excluded(Threads()), Transport)
    local = opener_of(None, "Client", LOCAL, lookup={"ALL_PROXY": "rubbish://"}.get)
    assert isinstance(local(Threads()), Transport)


def test_settings_of_a_client_that_sends_nothing_are_ignored() -> None:
    """Wrong ones too."""
    wrong = {"HTTPS_PROXY": "rubbish://", "SSL_CERT_FILE": "/nowhere.pem"}
    disabled = opener_of(None, "Client", BASE, enabled=False, lookup=wrong.get)
    assert isinstance(disabled(Threads()), Transport)


def test_certificates_that_cannot_be_used() -> None:
    """They are refused when the way is chosen; where they are not used they are ignored."""
    wrong = {"SSL_CERT_FILE": "/nowhere.pem"}
    with pytest.raises(MasivoConfigError, match=r"SSL_CERT_FILE.*nowhere\.pem"):
        opener_of(None, "Client", BASE, lookup=wrong.get)
    local = opener_of(None, "Client", LOCAL, lookup=wrong.get)
    assert isinstance(local(Threads()), Transport)
    mine = opener_of(dict, "Client", BASE, lookup=wrong.get)
    assert isinstance(mine(Threads()), HttpxTransport)
