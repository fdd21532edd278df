"""The model of the server: how it treats requests, its tokens, the forms of its responses."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from .frame import Violation

if TYPE_CHECKING:
    from masivo.protocol import Request

    from .plan import Fate, Plan

__all__ = ["KEY", "SECRETS", "ServerResponse", "Grant", "Server", "response_body", "http_date"]

KEY: Final = "client-key-0123456789"
SECRETS: Final = (KEY, "opaque-token-", "eyJhbGciOiAibm9uZSJ9.")
"""What must not be shown: the key, and what tokens begin with."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, and what it says of its own expiry."""

    token: str
    expires: float | None = None
    """Its ``exp``; None without one."""
    issued: float | None = None
    """Its ``iat``."""


@dataclass(slots=True)
class ServerResponse:
    """A complete response."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict[str, str])
    date: float | None = None
    """What its ``Date`` says."""
    wait: float | None = None
    """The seconds that its ``Retry-After`` asks for, where it names seconds."""
    wait_until: float | None = None
    """The moment that its ``Retry-After`` names, where it names one."""
    grant: Grant | None = None


def http_date(moment: float, form: str = "imf") -> str:
    """A moment as an HTTP date, in one of its three forms."""
    when = datetime.fromtimestamp(moment, UTC)
    match form:
        case "rfc850":
            return when.strftime("%A, %d-%b-%y %H:%M:%S GMT")
        case "asctime":
            return when.strftime("%a %b ") + f"{when.day:2d}" + when.strftime(" %H:%M:%S %Y")
        case _:
            return when.strftime("%a, %d %b %Y %H:%M:%S GMT")


class Server:
    """What is behind the network. Times are the world's, in seconds."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ahead = plan.server.skew
        self.set_back = False
        """Whether its clock, or the driver's, ever went back: then stamps may lie in its future."""
        self.tokens: dict[str, float] = {}
        """The tokens that work, with the server's time at which each ceases to."""
        self.grudge = False
        """Whether it takes none of its tokens."""
        self.issued: list[str] = []
        self.accepted: dict[int, int] = {}
        """How often it took each event, by number."""
        self.keys: dict[str, bytes] = {}
        """The body that came with each Idempotency-Key."""
        self._window = -1.0
        self._used = 0

    def time(self, now: float) -> float:
        """What its clock reads."""
        return self._plan.epoch + now + self._ahead

    def jump(self, seconds: float) -> None:
        """Set its clock."""
        self._ahead += seconds
        self.set_back = self.set_back or seconds < 0

    def handle(self, request: Request, now: float) -> ServerResponse:
        """Do what a request asks for."""
        if self._exhausted(now):
            wait = self._window + self._plan.server.window - now
            seconds = max(0, int(wait) + 1)
            response = ServerResponse(
                429, b'{"error":"quota","details":"none left"}', wait=float(seconds)
            )
            response.headers["retry-after"] = str(seconds)
            return response
        if request.method == "GET":
            return self._authorize(now)
        return self._events(request, now)

    def _exhausted(self, now: float) -> bool:
        plan = self._plan.server
        if not plan.quota:
            return False
        if self._window < 0 or now >= self._window + plan.window:
            self._window, self._used = now, 0
        self._used += 1
        return self._used > plan.quota

    def _authorize(self, now: float) -> ServerResponse:
        number = len(self.issued) + 1
        moment, life = self.time(now), self._plan.server.life
        expires = float(int(moment + life))
        issued = float(int(moment))
        form = self._plan.server.token
        claims: dict[str, Any] = {"sub": f"n{number}", "exp": int(expires), "iat": int(issued)}
        match form:
            case "opaque":
                grant = Grant(f"opaque-token-{number:06d}")
            case "short":
                grant = Grant(f"t{number}")
            case "no-iat":
                del claims["iat"]
                grant = Grant(_jwt(claims), expires)
            case "odd":
                claims["exp"] = (None, True, "soon", [], 1e3)[number % 5]
                expiry = 1e3 if number % 5 == 4 else None
                grant = Grant(_jwt(claims), expiry, issued)
            case _:
                grant = Grant(_jwt(claims), expires, issued)
        self.tokens[grant.token] = expires
        self.issued.append(grant.token)
        return ServerResponse(200, json.dumps({"data": grant.token}).encode(), grant=grant)

    def _events(self, request: Request, now: float) -> ServerResponse:
        headers = dict(request.headers)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self.grudge or token not in self.tokens or self.time(now) >= self.tokens[token]:
            return ServerResponse(401, b'{"error":"token","details":"unknown or expired"}')
        events = self.payload(request)
        key = headers["idempotency-key"]
        if self.keys.setdefault(key, request.body) != request.body:
            raise Violation("idempotency", f"another body came with the key {key}")
        if any("bad" in event for event in events):
            return ServerResponse(422, b'{"error":"an event is invalid","details":"bad"}')
        for event in events:
            self.accepted[event["n"]] = self.accepted.get(event["n"], 0) + 1
        return ServerResponse(201, b'{"data":{"status":"PENDING"}}')

    @staticmethod
    def body(request: Request) -> bytes:
        """A request's body, decoded."""
        encoding = dict(request.headers).get("content-encoding")
        return gzip.decompress(request.body) if encoding == "gzip" else request.body

    def payload(self, request: Request) -> list[dict[str, Any]]:
        """The events in a request's body."""
        value: Any = json.loads(self.body(request))
        key = self._plan.events_key
        events: list[dict[str, Any]] = value if key is None else value[key]
        return events

    def fault(self, request: Request, fate: Fate, now: float) -> ServerResponse:
        """A response that a fault puts in the place of the server's own."""
        response = ServerResponse(fate.status, response_body(fate, request))
        text = fate.retry_after
        form, sign, seconds = (text, "", "") if text[:1] in "-+" else _split(text)
        if sign and form in ("imf", "rfc850", "asctime"):
            response.wait_until = float(int(self.time(now)) + int(sign + seconds))
            text = http_date(response.wait_until, form)
        elif text == "leap":  # a leap second counts as the second before it
            response.wait_until = self.time(now) // 60.0 * 60.0 + 59.0
            text = http_date(response.wait_until).replace(":59 ", ":60 ")
        elif text == "imf-broken":
            text = "Xyz, 99 Foo 2026 25:00:00 GMT"
        elif text.strip().isascii() and text.strip().isdecimal():
            response.wait = min(float(text), 999_999_999_999.0)
        if text:
            response.headers["retry-after"] = text
        return response


def _split(text: str) -> tuple[str, str, str]:
    for sign in "+-":
        form, found, seconds = text.partition(sign)
        if found and seconds.isdecimal():
            return form, sign, seconds
    return text, "", ""


def _jwt(claims: dict[str, Any]) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    texts = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return ".".join((*texts, "signature"))


def response_body(fate: Fate, request: Request) -> bytes:
    """The body of a fault's response."""
    status = fate.status
    token = dict(request.headers).get("authorization", "").removeprefix("Bearer ")
    match fate.body:
        case "plain":
            value: object = {"error": f"failed with {status}.", "details": "some detail"}
        case "message":
            value = {"error": "", "message": "a message", "details": None}
        case "text":
            return b" plain text \n"
        case "empty":
            return b""
        case "array":
            value = ["an", {"array": 1}]
        case "number":
            value = 17
        case "nested":
            value = {"error": {"code": 5}, "message": "in words", "details": {"field": ["x"]}}
        case "both":
            value = {"error": "the error", "message": "the message", "details": False}
        case "blank":
            value = {"error": " \n ", "message": 5}
        case "long":
            value = {"error": "line one\r\nline two\t" + "x" * 700}
        case "echo":
            value = {"error": f"bad {KEY} / {token}", "details": [KEY, {"t": token}, f"x{token}x"]}
        case "escaped":
            escaped = "".join(f"\\u{ord(each):04x}" for each in KEY)
            return f'{{"error":"got {escaped}","details":"{escaped}"}}'.encode()
        case "served":
            value = {"error": "this is a Server key", "details": "use another"}
        case "html":
            return b"<html><body>Welcome</body></html>"
        case _:
            return b'{"error": "cut of'
    return json.dumps(value).encode()
