"""One connection of the emulator: reads requests through h11 and carries out their steps."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

import h11

from masivo.emulator.api import MAX_BODY
from masivo.emulator.responses import error_response
from masivo.emulator.script import Close, Reset, Send, Step, Wait

# The largest head of a request, in bytes.
MAX_HEAD = 65_536
# Bytes read from the socket at once.
CHUNK = 65_536
# Seconds that a client has to read the response to a request that was not read to its end.
LINGER = 1.0

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class RequestHandler(Protocol):
    """One request whose headers have arrived: see `Exchange`."""

    @property
    def reads_body(self) -> bool:
        """False if the body must not be read; `steps` is called then."""
        ...

    def abandon(self, body: bytes) -> None:
        """Handle a request whose body was never complete."""
        ...

    def steps(self, conn: h11.Connection, body: bytes) -> Iterator[Step]:
        """Process the request and yield the steps of its response."""
        ...


# Takes a request: method, target, headers with names in lower case.
TakeRequest = Callable[[str, str, dict[str, str]], RequestHandler]


class _GoneError(Exception):
    """The client has disconnected, or the emulator is stopping."""


class Connection:
    """Serves one client until it leaves, a fault ends it, or `stopping` is set."""

    def __init__(
        self, sock: socket.socket, take_request: TakeRequest, stopping: threading.Event
    ) -> None:
        self._sock = sock
        self._take_request = take_request
        self._stopping = stopping
        self._conn = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    def serve(self) -> None:
        """Serve requests, then close the socket. Raises only exceptions of a caller's function."""
        try:
            while self._serve_one():
                self._conn.start_next_cycle()
        except _GoneError:
            pass
        finally:
            self._sock.close()

    def interrupt(self) -> None:
        """End every read and write at once; safe from any thread."""
        interrupt(self._sock)

    def abort(self) -> None:
        """Close only the socket, without a word to the client; for the child of a fork."""
        self._sock.close()

    def _serve_one(self) -> bool:
        """Serve one request; return whether another can follow."""
        try:
            request = self._next_event()
        except h11.RemoteProtocolError as error:
            self._send_error(error)
            return False
        if not isinstance(request, h11.Request):
            return False
        handler = self._take_request(
            request.method.decode("ascii"),
            request.target.decode("ascii", "replace"),
            _headers(request),
        )
        body = bytearray()
        if handler.reads_body:
            try:
                self._read_body(body)
            except h11.RemoteProtocolError as error:
                handler.abandon(bytes(body))
                self._send_error(error)
                return False
            except _GoneError:
                handler.abandon(bytes(body))
                raise
        for step in handler.steps(self._conn, bytes(body)):
            match step:
                case Send(data):
                    self._send(data)
                case Wait(seconds):
                    self._wait(seconds)
                case Reset():
                    with suppress(OSError):  # the client closed it first
                        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    return False
                case Close():
                    self._finish(drain=False)
                    return False
        if self._conn.their_state is h11.DONE:  # and ours, as a connection that ends is MUST_CLOSE
            return True
        self._finish(drain=True)
        return False

    def _read_body(self, body: bytearray) -> None:
        """Read to the end of the body, or until it is larger than MAX_BODY."""
        while len(body) <= MAX_BODY:
            event = self._next_event()
            if isinstance(event, h11.EndOfMessage):
                return
            if isinstance(event, h11.Data):
                body += event.data

    def _next_event(self) -> object:
        while True:
            event = self._conn.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._conn.they_are_waiting_for_100_continue:
                self._send(self._conn.send(h11.InformationalResponse(status_code=100, headers=[])))
            self._conn.receive_data(self._receive())

    def _send_error(self, error: h11.RemoteProtocolError) -> None:
        """Respond to a request that is not HTTP, if a response is still possible."""
        if self._conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        status = error.error_status_hint
        response = error_response(status, "The request is not valid HTTP", str(error))
        length = ("Content-Length", str(len(response.body)))
        headers = [*response.headers, length, ("Connection", "close")]
        head = self._conn.send(h11.Response(status_code=status, headers=headers))
        self._send(head + response.body)
        self._finish(drain=True)

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(CHUNK)
        except OSError as error:
            raise _GoneError from error

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise _GoneError from error

    def _wait(self, seconds: float) -> None:
        if self._stopping.wait(min(seconds, threading.TIMEOUT_MAX)):
            raise _GoneError

    def _finish(self, *, drain: bool) -> None:
        """Close the sending side, so that the client sees the end of the response.

        With `drain`, read what the client still sends for up to LINGER seconds: closing a socket
        with unread data would reset the connection, and the client could lose the response.
        """
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
            deadline = time.monotonic() + LINGER
            while drain and (left := deadline - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv(CHUNK):
                    return
        except OSError as error:
            raise _GoneError from error


def interrupt(sock: socket.socket) -> None:
    """Wake every thread that reads from a socket or writes to it."""
    with suppress(OSError):  # it is closed, or no longer connected
        # The plain method: that of a TLS socket would change state under the other thread.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _headers(request: h11.Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
