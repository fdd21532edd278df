"""Every setting of a client: its type, its default and its check, once.

A wrong value is a ``MasivoConfigError`` that names the setting.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from ipaddress import ip_address
from types import MappingProxyType
from typing import Annotated, Any, Final, Protocol, TypeAlias, TypedDict, Unpack, cast
from urllib.parse import urlsplit

import msgspec

from .advice import advice
from .errors import MasivoConfigError
from .reporting.activity import OnActivity
from .reporting.redaction import redacted
from .values import LONGEST, BeforeSend, OnError
from .wire.api import PUBLIC_BASE_URL, Api, is_header_value, is_text

__all__ = [
    "Account",
    "ClientOptions",
    "Secret",
    "Settings",
    "configure",
    "is_loopback",
    "is_set",
    "one_spelling",
    "wait_limit",
]

_BASE_URL = re.compile(
    r"(?P<scheme>(?ai:https?))://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
    r"(:(?P<port>[0-9]{1,5}))?(?P<path>(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?)"
)
_PORTS: Final = {"https": 443, "http": 80}


class Secret:
    """A string that no repr and no traceback with local variables shows."""

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


class PathLike(Protocol):
    """A path, as ``os.PathLike[str]`` is."""

    def __fspath__(self) -> str:
        """Return it as a str."""
        ...


class Account(msgspec.Struct, frozen=True):
    """The settings that clients of one token have in common."""

    api_key: Secret
    base_url: str
    api: Api


# ── Checks ───────────────────────────────────────────────────────────────────────────────────
#
# Each takes the name and the value of a setting and returns the value to be kept.


def _count(name: str, value: object, *, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise MasivoConfigError(
            f"{name} must be a whole number, {least} or more{_but_given(value)}"
        )
    return value


def _seconds(name: str, value: object) -> float:
    if not _is_number(value) or not 0 < cast("float", value) <= LONGEST:
        raise MasivoConfigError(
            f"{name} must be a number of seconds above 0 (and at most {LONGEST:.0f})"
            f"{_but_given(value)}"
        )
    return float(cast("float", value))


def _seconds_or_none(name: str, value: object) -> float | None:
    return None if value is None else _seconds(name, value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise MasivoConfigError(f"{name} must be True or False")
    return value


def _brand(name: str, value: object) -> str | None:
    if value is not None and not (value and is_text(value)):
        raise MasivoConfigError(
            f"{name} must be a non-empty str that UTF-8 can encode, or None for no default"
        )
    # Not of a subclass, such as an Enum, which f-strings and the encoder write in other ways.
    return None if value is None else str.__str__(cast("str", value))


def _directory(name: str, value: object) -> str | None:
    if value is None:
        return None
    path = cast("PathLike", value).__fspath__() if hasattr(value, "__fspath__") else value
    if not isinstance(path, str) or not path or "\0" in path:
        raise MasivoConfigError(f"{name} must be the path of a directory, or None for no spool")
    return path


_ARGUMENTS: Final = {
    "on_error": "a FailedEvent (its event and its error)",
    "on_activity": "an Activity",
    "before_send": "the event",
}


def _callback(name: str, value: object) -> Any:
    if value is None:
        return None
    if not callable(value):
        raise MasivoConfigError(f"{name} must be callable, not {_kind(value)}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(
        getattr(value, "__call__", None)  # noqa: B004 (the method itself is wanted)
    ):
        raise MasivoConfigError(
            f"{name} must be a plain function: a coroutine function would never be awaited"
        )
    try:
        inspect.signature(value).bind(None)
    except TypeError:
        argument = _ARGUMENTS[name]
        raise MasivoConfigError(f"{name} must be callable with one argument, {argument}") from None
    except ValueError:  # a built-in function that does not say
        pass
    return value


# ── Settings ─────────────────────────────────────────────────────────────────────────────────

Count: TypeAlias = Annotated[int, _count]
Seconds: TypeAlias = Annotated[float, _seconds]
Flag: TypeAlias = Annotated[bool, _flag]


class Settings(msgspec.Struct, frozen=True):
    """One client's checked settings, each with its check and its default.

    A new setting is a line here, one in ``ClientOptions``, and one in the docstring of
    ``masivo._client.ClientBase``.
    """

    account: Account
    brand_id: Annotated[str | None, _brand] = None
    batch_size: Count = 100
    idle_timeout: Seconds = 30.0
    max_wait: Seconds = 60.0
    await_linger: Annotated[float | None, _seconds_or_none] = 0.05
    refresh_interval: Annotated[float | None, _seconds_or_none] = 300.0
    timeout: Seconds = 10.0
    max_retries: Annotated[int, partial(_count, least=0)] = 4
    max_in_flight: Count = 1
    max_queue: Count = 100_000
    max_queue_bytes: Count = 67_108_864
    max_event_bytes: Count = 262_144
    max_batch_bytes: Count = 4_194_304
    isolate_rejected: Flag = True
    on_error: Annotated[OnError | None, _callback] = None
    on_activity: Annotated[OnActivity | None, _callback] = None
    before_send: Annotated[BeforeSend | None, _callback] = None
    spool: Annotated[str | None, _directory] = None
    spool_max_bytes: Count = 1_073_741_824
    enabled: Flag = True


class ClientOptions(TypedDict, total=False):
    """The keyword arguments that all clients take; ``masivo.Client`` documents them."""

    brand_id: str | None
    base_url: str | None
    batch_size: int
    idle_timeout: float
    max_wait: float
    await_linger: float | None
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
    on_activity: OnActivity | None
    before_send: BeforeSend | None
    spool: str | PathLike | None
    spool_max_bytes: int
    enabled: bool
    api: Api


@cache
def _checks() -> dict[str, tuple[Callable[[str, Any], Any], Any]]:
    """The check and the default of every setting but the account."""
    return {
        field.name: (field.type.__metadata__[0], field.default)
        for field in msgspec.structs.fields(Settings)
        if field.name != "account"
    }


_OF_ACCOUNT: Final[dict[str, Any]] = {"base_url": None, "api": Api()}
"""The options that the account is made of, with their defaults."""


def defaults() -> dict[str, object]:
    """The default of every option, by its name."""
    return _OF_ACCOUNT | {name: default for name, (_, default) in _checks().items()}


def configure(
    api_key: Secret | None = None,
    *,
    environ: Mapping[str, str] = MappingProxyType({}),
    **options: Unpack[ClientOptions],
) -> Settings:
    """Check a client's settings; ``masivo.Client`` says what each means.

    Args:
        api_key: the key; None: that of the environment.
        environ: where ``MASIVO_API_KEY``, ``MASIVO_BASE_URL``, ``MASIVO_SPOOL``,
            ``MASIVO_DISABLED`` and ``MASIVO_LOOPBACK_ONLY`` are looked up, such as ``os.environ``;
            default: none of them is set.
        options: see ClientOptions.

    Raises:
        MasivoConfigError: one of them is wrong; the message names it and what it may be.
        TypeError: there is no such option; the message names the one that may be meant.
    """
    lookup = _Lookup(environ)
    del environ
    given = cast("dict[str, Any]", options)
    for name in given:
        if name not in _checks() and name not in _OF_ACCOUNT:
            given.clear()  # it may be the key; a traceback with local variables would show it
            raise TypeError(f"there is no option {name!r}{advice(name, ['api_key', *defaults()])}")
    enabled = _flag("enabled", given.pop("enabled", True))
    enabled = enabled and not is_set(lookup.get("MASIVO_DISABLED", ""))
    api = given.pop("api", _OF_ACCOUNT["api"])
    if not isinstance(api, Api):
        raise MasivoConfigError(f"api must be a masivo.Api, not {_kind(api)}")
    # First, as a test that forgot the emulator has no key either.
    key = api_key or Secret(lookup.get("MASIVO_API_KEY", ""))
    address = _base_url(given.pop("base_url", None), lookup, key, enabled=enabled)
    if isinstance(address, MasivoConfigError):
        raise address
    account = Account(_api_key(key, enabled=enabled), address, api)
    given.setdefault("spool", lookup.get("MASIVO_SPOOL") or None)
    values = {name: _checks()[name][0](name, value) for name, value in given.items()}
    settings = Settings(account=account, enabled=enabled, **values)
    if settings.max_event_bytes > settings.max_batch_bytes:
        raise MasivoConfigError(
            f"max_event_bytes ({settings.max_event_bytes}) must not be above "
            f"max_batch_bytes ({settings.max_batch_bytes}): such an event would fit no batch"
        )
    return settings


def wait_limit(timeout: float | None) -> float | None:
    """Check a call's ``timeout`` argument: seconds, 0 or more; None for no limit.

    Raises:
        MasivoConfigError: it is something else.
    """
    if timeout is None or timeout == math.inf:
        return None
    if not _is_number(timeout) or not timeout >= 0:
        raise MasivoConfigError(
            f"timeout must be a number of seconds, 0 or more, or None{_but_given(timeout)}"
        )
    return float(min(timeout, LONGEST))


class _Lookup:
    """Looks variables up in the environment, and hides it: it holds the key, which a traceback with
    local variables would show."""

    __slots__ = ("get",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.get = environ.get


def _api_key(key: Secret, *, enabled: bool) -> Secret:
    # The key has no variable here: a traceback with local variables would show it.
    if not _is_str(key.reveal()):
        raise MasivoConfigError(f"api_key must be a str, not {_kind(key.reveal())}")
    if not key.reveal():
        if not enabled:
            return key
        raise MasivoConfigError(
            "no API key: pass api_key, or set MASIVO_API_KEY. It must be a CLIENT key. To send "
            "nothing (while an image is built or static files are collected), set "
            "MASIVO_DISABLED=1"
        )
    if key.reveal()[0] in "'\"" and key.reveal()[0] == key.reveal()[-1]:
        raise MasivoConfigError(
            "api_key is in quotation marks: give it without them (env files of Docker keep them)"
        )
    if not is_header_value(key.reveal()):
        raise MasivoConfigError(
            "api_key holds a character that no header can carry (a blank, a line break, a control "
            "or a non-ASCII character); copy the CLIENT key from the Masivo dashboard again"
        )
    return Secret(str.__str__(key.reveal()))  # as in `_brand`


def _is_str(value: object) -> bool:
    return isinstance(value, str)


def _base_url(
    given: object, environ: _Lookup, key: Secret, *, enabled: bool
) -> str | MasivoConfigError:
    """The address, or the error of a wrong one. That is not raised here, where a traceback with
    local variables would show its password."""
    place = "" if given is not None else ", from MASIVO_BASE_URL"
    if given is None:
        given = environ.get("MASIVO_BASE_URL") or PUBLIC_BASE_URL
    url = given if isinstance(given, str) else _text_of(given)
    shown = f"{_shown_url(url, key)!r} (of type {_kind(given)}{place})"
    match = _BASE_URL.fullmatch(url)
    try:
        if match is None or urlsplit(url).port == 0:
            raise ValueError  # noqa: TRY301 (urlsplit raises the same for a port out of range)
    except ValueError:
        return MasivoConfigError(
            "base_url must look like 'https://host[:port][/path]', in ASCII and without user, "
            f"query or fragment, not {shown}; the public endpoint is {PUBLIC_BASE_URL!r}"
        )
    url = one_spelling(url)
    if url.startswith("http:") and not is_loopback(url):
        return MasivoConfigError(
            f"base_url must use https, not {shown}: over plain http the key could be read on the "
            "way (http is accepted for a loopback host only, such as the local emulator's)"
        )
    if enabled and is_set(environ.get("MASIVO_LOOPBACK_ONLY", "")) and not is_loopback(url):
        return MasivoConfigError(
            f"base_url is {url!r}, but no client may connect to another machine: "
            "MASIVO_LOOPBACK_ONLY is set, as it is under pytest. Let the test request the fixture "
            "masivo_emulator, and Client() finds the local emulator (for every test: "
            "usefixtures = masivo_emulator in pytest's configuration). To reach the real API on "
            "purpose, mark the test with @pytest.mark.masivo_real_api, or set "
            "masivo_real_api = true in that configuration"
        )
    return url


def one_spelling(url: str) -> str:
    """An address in the one form that is used: scheme and host in lower case, without the port that
    is the scheme's own, nor a slash at the end. Anything else is returned as it is."""
    match = _BASE_URL.fullmatch(url)
    if match is None:
        return url
    scheme = match["scheme"].lower()
    port = int(match["port"] or _PORTS[scheme])
    suffix = "" if port == _PORTS[scheme] else f":{port}"
    return f"{scheme}://{match['host'].lower()}{suffix}{match['path'].rstrip('/')}"


def _text_of(value: object) -> str:
    """The text of an object such as pydantic's HttpUrl; an empty one if it has none."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 (a caller's class can raise anything)
        return ""


def _shown_url(url: str, key: Secret) -> str:
    """A wrong address as a message may show it: without credentials, a query, or the key."""
    text = re.sub(r"^(\w*://)?.*@", r"\1[redacted]@", url, flags=re.DOTALL)
    text = re.sub(r"([?#]).*", r"\1…", text, flags=re.DOTALL)
    secret = key.reveal()
    if isinstance(cast("object", secret), str) and secret:
        text = redacted(text, [secret])
    return text if len(text) <= 200 else f"{text[:200]}…"


def is_loopback(url: str) -> bool:
    """Return whether the host of ``url`` is this machine, by its name or address alone."""
    host = urlsplit(url).hostname or ""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _but_given(value: object) -> str:
    """The end of a message about a number: the type, if it is that of no number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if number else f", not {_kind(value)}"


def is_set(text: str) -> bool:
    """Return whether the text of an environment variable turns a switch on."""
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _kind(value: object) -> str:
    return type(value).__name__
