"""Which certificates are trusted, and TLS connections."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import certifi
import pytest

from masivo import MasivoConfigError
from masivo._http import tls
from masivo._http.building import build_lock
from masivo.protocol import Failure, Response

from .certificates import authority_file, server_context
from .server import OK, PATIENCE, Peer, Server, respond
from .worlds import run_in, to

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .worlds import Face, Run


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no certificates."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def failing(run: Run, server: Server, url: str | None = None) -> Failure:
    """Send a request that fails before anything is sent."""
    url = url or server.url

    async def script(face: Face) -> Failure:
        failure = await face.send(to(url))
        assert isinstance(failure, Failure)
        assert not failure.sent
        assert server.all_are_closed()
        return failure

    return run(url, script)


def works(run: Run, server: Server) -> None:
    """Send two requests that take one connection."""

    async def script(face: Face) -> None:
        for _ in range(2):
            assert isinstance(await face.send(to(server.url)), Response)

    run(server.url, script)
    assert server.opened == 1


def test_an_unknown_authority(run: Run) -> None:
    """A failed verification says so, and how to trust a CA of one's own."""
    with Server(tls=server_context()) as server:
        failure = failing(run, server)
    assert failure.reason.startswith("no secure connection: ")
    assert "certificate verify failed" in failure.reason
    assert "SSL_CERT_FILE" in failure.reason
    assert "http_client" in failure.reason
    assert isinstance(failure.cause, ssl.SSLCertVerificationError)


def test_without_settings_the_public_authorities_are_trusted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that certifi lists, whatever the system has."""
    monkeypatch.setattr(certifi, "where", lambda: str(authority_file(tmp_path)))
    with Server(tls=server_context()) as server:
        works(run, server)


def test_a_certificate_of_another_host(run: Run, trusted: None) -> None:
    """So does one for another name, of a CA that is trusted."""
    with Server(tls=server_context("other.example")) as server:
        failure = failing(run, server)
    assert "certificate verify failed" in failure.reason
    assert "127.0.0.1" in failure.reason


def test_a_file_of_certificates(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``SSL_CERT_FILE`` is trusted, in place of the public CAs."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))
    with Server(tls=server_context()) as server:
        works(run, server)


def test_a_directory_of_certificates(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are those of ``SSL_CERT_DIR``, whose files have hashed names: of several directories one
    may be empty, or missing."""
    file = authority_file(tmp_path)
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(file)]
    try:
        hashed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        pytest.skip("this machine has no openssl command, which names such files")
    other, folder = tmp_path / "none here", tmp_path / "our certs"
    other.mkdir()
    folder.mkdir()
    (folder / f"{hashed}.0").write_bytes(file.read_bytes())
    parts = [tmp_path / "missing", other, folder]
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(map(str, parts)))
    with Server(tls=server_context()) as server:
        works(run, server)


def test_a_server_without_tls(run: Run) -> None:
    """A server that does not speak TLS: no secure connection."""

    def talk(peer: Peer) -> None:
        peer.socket.recv(1)
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Server(talk) as server:
        failure = failing(run, server, server.url.replace("http:", "https:"))
    assert failure.reason.startswith("no secure connection: ")
    assert "SSL_CERT_FILE" not in failure.reason


def test_a_server_that_hangs_up(run: Run) -> None:
    """So is one that closes in the middle of the handshake."""

    def talk(peer: Peer) -> None:
        peer.socket.recv(1)
        peer.close()

    with Server(talk) as server:
        failure = failing(run, server, server.url.replace("http:", "https:"))
    assert failure.reason.startswith("no secure connection: ")


def test_versions_that_are_broken(run: Run, trusted: None) -> None:
    """TLS 1.1 is not spoken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Server(tls=context) as server:
        assert failing(run, server).reason.startswith("no secure connection: ")


def test_http_1_1_is_agreed_on(run: Run, trusted: None) -> None:
    """A server that speaks HTTP/2 as well is asked for HTTP/1.1, before anything is sent."""
    agreed: list[str | None] = []

    def talk(peer: Peer) -> None:
        assert isinstance(peer.socket, ssl.SSLSocket)
        agreed.append(peer.socket.selected_alpn_protocol())
        respond()(peer)

    context = server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Server(talk, tls=context) as server:
        works(run, server)
    assert agreed == ["http/1.1"]


def test_no_server_renegotiates() -> None:
    """A server can have no second handshake, in the middle of which a write would wait for a
    read."""
    assert tls.client_context().options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("how", ["with a word", "without"])
def test_a_connection_that_the_server_has_closed(
    run: Run, trusted: None, version: ssl.TLSVersion, how: str
) -> None:
    """With ``close_notify`` or without: it is noticed before the next request, and a body that ends
    with its connection is whole."""
    context = server_context()
    context.maximum_version = version
    go, gone = threading.Event(), threading.Event()

    def talk(peer: Peer) -> None:
        peer.request()
        if peer.number == 0:
            peer.say(b"HTTP/1.1 200 OK\r\n\r\n{}")
        else:
            peer.say(OK)
            assert go.wait(PATIENCE)
        if how == "with a word":
            assert isinstance(peer.socket, ssl.SSLSocket)
            peer.socket.settimeout(0)
            with suppress(OSError):  # the client does not say it back
                peer.socket.unwrap()
        peer.close()
        if peer.number == 1:
            gone.set()

    with Server(talk, tls=context) as server:

        async def script(face: Face) -> None:
            for count in (1, 2):
                response = await face.send(to(server.url))
                assert isinstance(response, Response)
                assert response.body == b"{}"
                assert server.opened == count
            go.set()
            assert gone.wait(PATIENCE)
            assert isinstance(await face.send(to(server.url)), Response)

        run(server.url, script)
        assert server.opened == 3
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


def test_a_record_that_was_tampered_with(run: Run, trusted: None) -> None:
    """Bytes that do not decrypt break the response."""

    def talk(peer: Peer) -> None:
        peer.request()
        with socket.socket(fileno=os.dup(peer.socket.fileno())) as plain:
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))

    with Server(talk, tls=server_context()) as server:

        async def script(face: Face) -> None:
            failure = await face.send(to(server.url))
            assert isinstance(failure, Failure)
            assert failure.sent
            assert failure.reason.startswith("no response: ")

        run(server.url, script)


ALERTED = {
    "before the head": (b"", None, "no response: "),
    "in the head": (b"HTTP/1.1 200 OK\r\nconte", None, "no response: "),
    "in the body": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
        200,
        "no complete response: ",
    ),
    "in a body without a length": (b"HTTP/1.1 503 No\r\n\r\n{", 503, "no complete response: "),
}


class Alerting:
    """A server's side of a TLS connection, which can end it by an alert."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = server_context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._through(self._tls.do_handshake)

    def _through(self, step: Callable[[], object]) -> None:
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                self._incoming.write(self._socket.recv(65_536))
                continue
            self._socket.sendall(self._outgoing.read())
            return

    def read(self) -> None:
        """Read some of what the client sends."""
        self._through(lambda: self._tls.read(65_536))

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._through(lambda: self._tls.write(data))

    def alert(self) -> None:
        """Send an alert, as a server does to a record that does not decrypt."""
        pending = self._incoming.read()
        assert pending == b"" or pending[0] == 0x17
        self._incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        with suppress(ssl.SSLError):
            while True:
                self._tls.read(65_536)
        self._socket.sendall(self._outgoing.read())


@pytest.mark.parametrize("name", ALERTED)
def test_an_alert_in_a_response(run: Run, trusted: None, name: str) -> None:
    """It breaks the response, whose status counts where its headers have arrived; the failure names
    the alert, and the connection is closed."""
    data, status, reason = ALERTED[name]

    def talk(peer: Peer) -> None:
        tls = Alerting(peer.socket)
        tls.read()
        if data:
            tls.say(data)
        tls.alert()

    with Server(talk) as server:

        async def script(face: Face) -> None:
            failure = await face.send(to(server.url.replace("http:", "https:")))
            assert isinstance(failure, Failure)
            assert (failure.sent, failure.status) == (True, status)
            assert failure.reason.startswith(reason)
            assert "ALERT_BAD_RECORD_MAC" in failure.reason.replace(" ", "_").upper()
            assert server.all_are_closed()

        run(server.url.replace("http:", "https:"), script)


def test_an_alert_in_a_request(run: Run, trusted: None) -> None:
    """The request breaks off, with a part of it sent."""

    def talk(peer: Peer) -> None:
        tls = Alerting(peer.socket)
        tls.read()
        tls.alert()
        peer.wait_for_the_end()

    with Server(talk, receives=65_536) as server:
        url = server.url.replace("http:", "https:")

        async def script(face: Face) -> None:
            failure = await face.send(to(url, bytes(16_000_000)))
            assert isinstance(failure, Failure)
            assert (failure.sent, failure.status) == (True, None)
            assert failure.reason.startswith("no response: ")

        run(url, script)


# ── Settings that cannot be used ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("kind", ["missing", "empty", "no certificates"])
def test_wrong_paths(name: str, kind: str, tmp_path: Path) -> None:
    """Each is refused with the variable, the path and the reason."""
    path = tmp_path / "trust"
    if kind != "missing" and name == "SSL_CERT_FILE":
        path.write_text("" if kind == "empty" else "hello")
    elif kind != "missing":
        path.mkdir()
        if kind == "no certificates":
            (path / "ca.pem").write_text("hello")
    with pytest.raises(MasivoConfigError, match=name) as caught:
        tls.check_certificates({name: str(path)}.get)
    assert str(path) in caught.value.message
    if name == "SSL_CERT_DIR" and kind != "missing":
        assert "no certificate has a hashed name there, see `openssl rehash`" in str(caught.value)


def test_a_file_wins_over_a_directory(tmp_path: Path) -> None:
    """Then the directory is not looked at."""
    tls.check_certificates(
        {"SSL_CERT_FILE": certifi.where(), "SSL_CERT_DIR": str(tmp_path / "nowhere")}.get
    )


def test_empty_settings_are_none() -> None:
    """An empty value is no value."""
    tls.check_certificates({"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}.get)


def test_a_file_that_vanished(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates that became unusable since: no request can be sent, and none is retried."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with Server(tls=server_context()) as server:
        failure = failing(run, server)
    assert isinstance(failure.fatal, MasivoConfigError)
    assert "gone.pem" in failure.reason


@pytest.mark.usefixtures("trusted")
def test_no_fork_comes_while_a_context_is_built(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork in another thread waits: an unfinished import or context would block the child."""
    build, may_fork = tls._loaded, list[bool]()

    def try_to_fork() -> None:
        may_fork.append(build_lock.acquire(blocking=False))
        if may_fork[-1]:
            build_lock.release()

    def building(*args: Any) -> Any:
        other = threading.Thread(target=try_to_fork)
        other.start()
        other.join()
        return build(*args)

    monkeypatch.setattr(tls, "_loaded", building)
    with Server(tls=server_context()) as server:
        works(run, server)
    assert set(may_fork) == {False}


@pytest.mark.parametrize("world", ["asyncio", "uvloop", "trio"])
@pytest.mark.usefixtures("trusted")
def test_a_loop_runs_on_while_the_first_context_is_built(
    world: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the certificates takes its time, and so it happens in a thread."""
    build, went_on = tls._loaded, threading.Event()
    threads: list[int] = []

    def slow(*args: Any) -> Any:
        threads.append(threading.get_ident())
        assert went_on.wait(PATIENCE)
        return build(*args)

    monkeypatch.setattr(tls, "_loaded", slow)
    with Server(tls=server_context()) as serving:

        async def script(face: Face) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tell)
                assert isinstance(await face.send(to(serving.url)), Response)

        async def tell() -> None:
            while not threads:
                await anyio.lowlevel.checkpoint()
            went_on.set()

        run_in(world)(serving.url, script)
    assert threading.get_ident() not in threads
