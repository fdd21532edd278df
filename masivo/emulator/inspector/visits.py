"""Requests of the page to the inspector: their paths, access checks and responses.

Only this machine can reach the emulator, but every site that its user visits runs code on this
machine too. So a `Host` that is not a loopback name gets a 403 (it would be the name of another
site, pointed here), every change takes a POST from the page's own origin with a content type that
makes a browser send a preflight request first, and the page runs no code but its own.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qs, urlsplit

import h11

from masivo.emulator import script
from masivo.emulator.inspector.feed import Inspector
from masivo.emulator.loopback import is_loopback
from masivo.emulator.responses import TYPE_JSON, Json, Response, error_response
from masivo.emulator.switches import Switches

PREFIX: Final = "/inspector/"

# The largest body that the page sends, in bytes.
MAX_BODY: Final = 4_096

_FILES: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    f"{PREFIX}page.css": ("page.css", "text/css; charset=utf-8"),
    f"{PREFIX}page.js": ("page.js", "text/javascript; charset=utf-8"),
    f"{PREFIX}icon.svg": ("icon.svg", "image/svg+xml"),
}
_POSTS: Final = frozenset({f"{PREFIX}switches", f"{PREFIX}revoke"})
_GETS: Final = frozenset({*_FILES, f"{PREFIX}feed", f"{PREFIX}event", f"{PREFIX}curl"})

_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'"
        ),
    ),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


def is_visit(method: str, target: str) -> bool:
    """Return whether a request is for the inspector, not for the API."""
    path = target.partition("?")[0]
    return path.startswith(PREFIX) or (method == "GET" and path == "/")


class Visit:
    """One request of the page, and its response."""

    def __init__(
        self, inspector: Inspector, method: str, target: str, headers: dict[str, str]
    ) -> None:
        """Take a request whose headers (names in lower case) have arrived."""
        self._inspector = inspector
        self._method = method
        self._target = target
        self._headers = headers

    @property
    def reads_body(self) -> bool:
        """Always True: the connection is used again after it."""
        return True

    def abandon(self, body: bytes) -> None:
        """Do nothing: requests of the page are not recorded."""

    def steps(self, conn: h11.Connection, body: bytes) -> Iterator[script.Step]:
        """Yield the steps of the response."""
        response = self._error(body) or self._respond(body)
        desk = self._inspector.desk
        headers = (*desk.api.base_headers(desk.clock()), *response.headers, *_HEADERS)
        if len(body) > MAX_BODY:  # it may not have been read to its end
            headers = (*headers, ("Connection", "close"))
        whole = Response(response.status, response.body, headers)
        return script.steps(conn, self._method, whole, script.NO_FAULT)

    def _error(self, body: bytes) -> Response | None:
        """Return the error for a request that is not the page's own; None for one that is."""
        host = self._headers.get("host", "")
        if not is_loopback(_name(host)):
            return error_response(
                403, "Forbidden", "Ask for the inspector by a loopback address or localhost"
            )
        if len(body) > MAX_BODY:
            return error_response(413, "Content Too Large", f"The limit is {MAX_BODY} bytes")
        if self._path not in _POSTS | _GETS:
            return error_response(404, "Not Found", "The inspector has no such path")
        method = "POST" if self._path in _POSTS else "GET"
        if self._method != method:
            allowed = (("Allow", method),)
            return error_response(405, "Method Not Allowed", f"Use {method} here", allowed)
        if method == "GET":
            return None
        if self._headers.get("origin", "").partition("://")[2] != host:
            return error_response(
                403,
                "Forbidden",
                "Only the inspector's own page may do this; in a test, use Emulator.fail",
            )
        if self._headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return error_response(415, "Unsupported Media Type", "Send application/json")
        return None

    def _respond(self, body: bytes) -> Response:
        if self._path in _FILES:
            name, content_type = _FILES[self._path]
            return Response(200, _file(name), (("Content-Type", content_type),))
        try:
            if self._path in _POSTS:
                return self._do(body)
            return self._data()
        except (TypeError, ValueError, RecursionError) as error:
            return error_response(400, "Bad Request", str(error))

    def _do(self, body: bytes) -> Response:
        document: Json = json.loads(body)
        if self._path == f"{PREFIX}switches":
            switches = Switches.parse(document)
            self._inspector.switch(switches)
            return _document({"switches": asdict(switches)})
        self._inspector.revoke_tokens()
        return _document({})

    def _data(self) -> Response:
        query = parse_qs(urlsplit(self._target).query)
        run = query.get("run", [""])[0]

        def number(name: str) -> int:
            return int(query.get(name, ["0"])[0])

        if self._path == f"{PREFIX}feed":
            return _document(self._inspector.feed(run, number("after")))
        if self._path == f"{PREFIX}curl":
            command = self._inspector.curl(run, number("request"))
            if command is None:
                return error_response(404, "Not Found", "The emulator no longer keeps this request")
            return _document({"command": command})
        event = self._inspector.event(run, number("request"), number("index"))
        if event is None:
            return error_response(404, "Not Found", "The emulator no longer keeps this event")
        return _document({"event": event})

    @property
    def _path(self) -> str:
        return self._target.partition("?")[0]


def _name(host: str) -> str:
    """Return the name or address in a `Host` header, or an empty string if it has none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _document(document: dict[str, object]) -> Response:
    # Escaped to ASCII: an event may hold a lone surrogate, which no encoding carries.
    return Response(200, json.dumps(document).encode("ascii"), (("Content-Type", TYPE_JSON),))


@cache
def _file(name: str) -> bytes:
    return files("masivo.emulator.inspector").joinpath(name).read_bytes()
