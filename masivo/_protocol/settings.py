"""Every setting, checked once. A wrong one is a ``MasivoConfigError`` that names it."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

import msgspec

from .errors import MasivoConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .json import Json
    from .values import OnError

__all__ = ["PUBLIC_BASE_URL", "Account", "Api", "Secret", "Settings"]

PUBLIC_BASE_URL: Final = "https://app.masivo.ai/api/storefront/v1"
"""The vendor's public endpoint (``wire.md``, "Documented by the vendor")."""

RESERVED_TYPES: Final = frozenset(
    {"PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT"}
)

LONGEST: Final = 1e9
"""The longest duration that a setting may name, in seconds (some 31 years): "never"."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_BASE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
)


class Secret:
    """A text that shows itself to nobody: not in a repr, not in a traceback with locals."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def is_header_value(text: str) -> bool:
    """Whether ``text`` can be sent as a credential in a header: visible ASCII, nothing else."""
    return _VISIBLE_ASCII.fullmatch(text) is not None


def _is_text(value: object) -> bool:
    """Whether it is a str that UTF-8 can encode: one without lone surrogates."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _says_server(status: int, body: Json) -> bool:
    """The default of ``Api.is_server_key_refusal``: 400, 401 or 403 with the word "server"."""
    if status not in (400, 401, 403) or not isinstance(body, dict):
        return False
    said = " ".join(str(body.get(key, "")) for key in ("error", "message", "details"))
    return re.search(r"\bserver\b", said, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Api:
    """What the vendor does not document, in one place (``wire.md``, "Not public").

    Raises:
        MasivoConfigError: a field is of the wrong type, or cannot be sent.
    """

    authorize_path: str = "/auth/authorize"
    """Where a token is had, below ``base_url``."""
    events_path: str = "/behavior/events/bulk"
    """Where batches go, below ``base_url``."""
    events_key: str | None = "events"
    """The key of the events in a batch's body; None: the body is the bare array."""
    sdk_header: str | None = "client"
    """The value of ``x-masivo-sdk`` at the authorization; None: no such header."""
    reserved_types: frozenset[str] = RESERVED_TYPES
    """Event types that only a SERVER key may send."""
    stamp_issued_at: bool = True
    """Whether events without ``issued_at`` get one, from the server's clock."""
    is_server_key_refusal: Callable[[int, Json], bool] = field(default=_says_server, repr=False)
    """Given status and body of a refused authorization: was it for a SERVER key?"""

    def __post_init__(self) -> None:
        for name in ("authorize_path", "events_path"):
            path: object = getattr(self, name)
            if not (
                isinstance(path, str) and path.startswith("/") and _VISIBLE_ASCII.fullmatch(path)
            ):
                raise MasivoConfigError(
                    f"Api.{name} must be a path that starts with '/', in visible ASCII"
                )
        if self.events_key is not None and not _is_text(self.events_key):
            raise MasivoConfigError("Api.events_key must be a str that UTF-8 can encode, or None")
        header: object = self.sdk_header
        if header is not None and not (isinstance(header, str) and is_header_value(header)):
            raise MasivoConfigError("Api.sdk_header must be a str in visible ASCII, or None")
        types: object = self.reserved_types
        if isinstance(types, str) or not isinstance(types, Collection):
            raise MasivoConfigError("Api.reserved_types must be a set of str")
        if not all(isinstance(each, str) for each in self.reserved_types):
            raise MasivoConfigError("Api.reserved_types must hold str only")
        object.__setattr__(self, "reserved_types", frozenset(self.reserved_types))
        if not callable(self.is_server_key_refusal):
            raise MasivoConfigError("Api.is_server_key_refusal must be callable")
        if not isinstance(self.stamp_issued_at, bool):
            raise MasivoConfigError("Api.stamp_issued_at must be True or False")


class Account(msgspec.Struct, frozen=True):
    """What clients that share a token have in common."""

    api_key: Secret
    base_url: str
    api: Api


class Settings(msgspec.Struct, frozen=True):
    """One client's checked settings; ``Client`` documents them."""

    account: Account
    brand_id: str | None
    batch_size: int
    idle_timeout: float
    max_wait: float
    refresh_interval: float | None
    timeout: float
    max_retries: int
    max_in_flight: int
    max_queue: int
    max_queue_bytes: int
    max_event_bytes: int
    max_batch_bytes: int
    isolate_rejected: bool
    on_error: OnError | None
    enabled: bool


def configure(
    api_key: Secret | None = None,
    *,
    environ: Mapping[str, str] = MappingProxyType({}),
    brand_id: str | None = None,
    base_url: str | None = None,
    batch_size: int = 100,
    idle_timeout: float = 30.0,
    max_wait: float = 60.0,
    refresh_interval: float | None = 300.0,
    timeout: float = 10.0,
    max_retries: int = 4,
    max_in_flight: int = 1,
    max_queue: int = 100_000,
    max_queue_bytes: int = 67_108_864,
    max_event_bytes: int = 262_144,
    max_batch_bytes: int = 4_194_304,
    isolate_rejected: bool = True,
    on_error: OnError | None = None,
    enabled: bool = True,
    api: Api = Api(),
) -> Settings:
    """A client's settings, checked; ``masivo.Client`` says what each means.

    Args:
        environ: where ``MASIVO_API_KEY``, ``MASIVO_BASE_URL``, ``MASIVO_DISABLED`` and
            ``MASIVO_LOOPBACK_ONLY`` are looked up: ``os.environ``, or nothing.

    Raises:
        MasivoConfigError: one of them is wrong; the message names it and what it may be.
    """
    lookup = _Lookup(environ)
    del environ
    enabled = _flag("enabled", enabled) and not is_set(lookup.get("MASIVO_DISABLED", ""))
    if not isinstance(api, Api):
        raise MasivoConfigError(f"api must be a masivo.Api, not {_kind(api)}")
    if brand_id is not None and not (brand_id and _is_text(brand_id)):
        raise MasivoConfigError(
            "brand_id must be a non-empty str that UTF-8 can encode, or None for no default"
        )
    # First, as a test that forgot the emulator has no key either.
    address = _base_url(base_url, lookup, enabled=enabled)
    settings = Settings(
        account=Account(_api_key(api_key, lookup, enabled=enabled), address, api),
        brand_id=brand_id,
        batch_size=_count("batch_size", batch_size),
        idle_timeout=_seconds("idle_timeout", idle_timeout),
        max_wait=_seconds("max_wait", max_wait),
        refresh_interval=None
        if refresh_interval is None
        else _seconds("refresh_interval", refresh_interval),
        timeout=_seconds("timeout", timeout),
        max_retries=_count("max_retries", max_retries, least=0),
        max_in_flight=_count("max_in_flight", max_in_flight),
        max_queue=_count("max_queue", max_queue),
        max_queue_bytes=_count("max_queue_bytes", max_queue_bytes),
        max_event_bytes=_count("max_event_bytes", max_event_bytes),
        max_batch_bytes=_count("max_batch_bytes", max_batch_bytes),
        isolate_rejected=_flag("isolate_rejected", isolate_rejected),
        on_error=_callback(on_error),
        enabled=enabled,
    )
    if max_event_bytes > max_batch_bytes:
        raise MasivoConfigError(
            f"max_event_bytes ({max_event_bytes}) must not be above "
            f"max_batch_bytes ({max_batch_bytes}): such an event would fit no batch"
        )
    return settings


def wait_limit(timeout: float | None) -> float | None:
    """A call's ``timeout`` argument, checked: seconds from 0 on, None for no limit.

    Raises:
        MasivoConfigError: it is something else.
    """
    if timeout is None or timeout == math.inf:
        return None
    if not _is_number(timeout) or not timeout >= 0:
        raise MasivoConfigError("timeout must be a number of seconds from 0 on, or None")
    return float(min(timeout, LONGEST))


class _Lookup:
    """The environment, which holds the key, as no traceback with local variables shows it."""

    __slots__ = ("get",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.get = environ.get


def _api_key(given: Secret | None, environ: _Lookup, *, enabled: bool) -> Secret:
    # The text has no name here: a traceback with local variables would show it.
    key = Secret(environ.get("MASIVO_API_KEY", "")) if given is None else given
    if not _is_str(key.reveal()):
        raise MasivoConfigError(f"api_key must be a str, not {_kind(key.reveal())}")
    if not key.reveal():
        if not enabled:
            return key
        raise MasivoConfigError(
            "no API key: pass api_key, or set MASIVO_API_KEY. It must be a CLIENT key"
        )
    if not is_header_value(key.reveal()):
        raise MasivoConfigError(
            "api_key holds a character that no header can carry (a blank, a line break, a control "
            "or a non-ASCII character); copy the CLIENT key from the Masivo dashboard once more"
        )
    return key


def _is_str(value: object) -> bool:
    return isinstance(value, str)


def _base_url(given: str | None, environ: _Lookup, *, enabled: bool) -> str:
    url = given if given is not None else environ.get("MASIVO_BASE_URL") or PUBLIC_BASE_URL
    match = _BASE_URL.fullmatch(url) if isinstance(url, str) else None
    try:
        if match is None or urlsplit(url).port == 0:
            raise ValueError  # noqa: TRY301 (urlsplit raises the same for a port out of range)
    except ValueError:
        raise MasivoConfigError(
            "base_url must look like 'https://host[:port][/path]', in ASCII and without user, "
            f"query or fragment; the public endpoint is {PUBLIC_BASE_URL!r}"
        ) from None
    if match["scheme"] == "http" and not is_loopback(url):
        raise MasivoConfigError(
            "base_url must use https: over plain http the key could be read on the way "
            "(http is accepted for a loopback host only, such as the local emulator's)"
        )
    if enabled and is_set(environ.get("MASIVO_LOOPBACK_ONLY", "")) and not is_loopback(url):
        raise MasivoConfigError(
            f"base_url is {url!r}, but no client may reach another host than this machine: "
            "MASIVO_LOOPBACK_ONLY is set, as it is under pytest. Let the test request the fixture "
            "masivo_emulator, and Client() finds the local emulator (for every test: "
            "usefixtures = masivo_emulator in pytest's configuration). To reach the real API on "
            "purpose, mark the test with @pytest.mark.masivo_real_api, or set "
            "masivo_real_api = true in that configuration"
        )
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether the host of ``url`` is this machine, by its name or address alone."""
    host = urlsplit(url).hostname or ""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _callback(on_error: OnError | None) -> OnError | None:
    if on_error is None:
        return None
    if not callable(on_error):
        raise MasivoConfigError(f"on_error must be callable, not {_kind(on_error)}")
    if inspect.iscoroutinefunction(on_error) or inspect.iscoroutinefunction(
        getattr(on_error, "__call__", None)  # noqa: B004 (the method itself is wanted)
    ):
        raise MasivoConfigError(
            "on_error must be a plain function: nobody would await a coroutine function"
        )
    return on_error


def _count(name: str, value: int, *, least: Literal[0, 1] = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise MasivoConfigError(f"{name} must be a whole number from {least} on")
    return value


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(name: str, value: float) -> float:
    if not _is_number(value) or not 0 < value <= LONGEST:
        raise MasivoConfigError(
            f"{name} must be a number of seconds above 0 (and at most {LONGEST:.0f})"
        )
    return float(value)


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise MasivoConfigError(f"{name} must be True or False")
    return value


def is_set(text: str) -> bool:
    """Whether the text of an environment variable that is a switch turns it on."""
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _kind(value: object) -> str:
    return type(value).__name__
