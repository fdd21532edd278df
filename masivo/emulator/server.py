"""The listening socket and the threads: one that accepts, and one for each connection."""

import os
import selectors
import socket
import ssl
import threading
import time
import weakref

from masivo.emulator.connection import Connection, TakeRequest

# Seconds that `Server.stop` waits for its threads; only a caller's function can take longer.
STOP_TIMEOUT = 2.0


class Server:
    """A listening socket that accepts connections from construction until `stop`.

    Raises OSError if the address cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        take_request: TakeRequest,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._take_request = take_request
        self._ssl_context = ssl_context
        self._stopping = threading.Event()
        # Only the accepting thread adds to them; `stop` reads them after it has ended.
        self._connections: dict[threading.Thread, Connection] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host, port))
            self._listener.listen(512)
            self._listener.setblocking(False)
        except BaseException:
            self._listener.close()
            raise
        self.port: int = self._listener.getsockname()[1]
        self._wakes, self._waker = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept_until_stopped, name=f"masivo-emulator-{self.port}", daemon=True
        )
        self._acceptor.start()
        _running.add(self)

    def stop(self) -> None:
        """Close every socket and end every thread. Idempotent."""
        _running.discard(self)
        deadline = time.monotonic() + STOP_TIMEOUT
        self._stopping.set()
        self._waker.close()
        self._acceptor.join()
        for connection in self._connections.values():
            connection.interrupt()
        for thread in self._connections:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def abort(self) -> None:
        """Close every socket in the child of a fork, where none of the threads runs."""
        for sock in (self._listener, self._wakes, self._waker):
            sock.close()
        for connection in self._connections.values():
            connection.abort()

    def _accept_until_stopped(self) -> None:
        with self._listener, self._wakes, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wakes, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if not self._stopping.is_set():
                    self._accept()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            # The client has disconnected, or no file descriptor is free: do not retry at once.
            self._stopping.wait(0.01)
            return
        try:
            sock.setblocking(True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._ssl_context is not None:
                sock = self._ssl_context.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False
                )
        except OSError:
            sock.close()
            return
        connection = Connection(sock, self._take_request, self._stopping)
        thread = threading.Thread(
            target=connection.serve, name=f"masivo-emulator-{self.port}-connection", daemon=True
        )
        for ended in [each for each in self._connections if not each.is_alive()]:
            del self._connections[ended]
        self._connections[thread] = connection
        thread.start()


# A child of a fork inherits every socket. Left open there, they would keep a connection alive
# that the parent has closed or reset.
_running: weakref.WeakSet[Server] = weakref.WeakSet()


def _abort_in_child() -> None:
    for server in list(_running):
        server.abort()
    _running.clear()


os.register_at_fork(after_in_child=_abort_in_child)
