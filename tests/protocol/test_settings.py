"""Every setting is checked at construction (``docs/reference/guarantees.md#checked-settings``)."""

from __future__ import annotations

import functools
import inspect
import math
import re
from enum import Enum
from pathlib import Path
from typing import Any, cast

import pytest

from masivo import Client
from masivo._client import ClientBase
from masivo._protocol.advice import INSTEAD, MEANT
from masivo._protocol.errors import MasivoConfigError, MasivoError
from masivo._protocol.settings import defaults, one_spelling
from masivo._protocol.wire.api import PUBLIC_BASE_URL
from masivo.protocol import Api, ClientOptions, Secret, Settings, configure, is_loopback, wait_limit

from .simulator import KEY, Driver, event, settings, shown


def made(**changes: Any) -> Settings:
    """Settings of these arguments, of any type."""
    return settings(**changes)


def refusal(**changes: Any) -> str:
    """The message with which settings are refused."""
    with pytest.raises(MasivoConfigError) as caught:
        made(**changes)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, MasivoError)
    return caught.value.message


def from_environment(key: Secret | None = None, **environ: str) -> Settings:
    """Settings from an environment."""
    return configure(key, environ=environ)


# ── Defaults ─────────────────────────────────────────────────────────────────────────────────


def test_the_defaults_are_those_that_are_promised() -> None:
    """Every default, word for word."""
    given = configure(Secret(KEY))
    assert {
        name: getattr(given, name) for name in Settings.__struct_fields__ if name != "account"
    } == {
        "brand_id": None,
        "batch_size": 100,
        "idle_timeout": 30.0,
        "max_wait": 60.0,
        "await_linger": 0.05,
        "refresh_interval": 300.0,
        "timeout": 10.0,
        "max_retries": 4,
        "max_in_flight": 1,
        "max_queue": 100_000,
        "max_queue_bytes": 67_108_864,
        "max_event_bytes": 262_144,
        "max_batch_bytes": 4_194_304,
        "isolate_rejected": True,
        "on_error": None,
        "on_activity": None,
        "before_send": None,
        "spool": None,
        "spool_max_bytes": 1_073_741_824,
        "enabled": True,
    }
    assert given.account.base_url == PUBLIC_BASE_URL == "https://app.masivo.ai/api/storefront/v1"


# ── The key and the environment ──────────────────────────────────────────────────────────────


def test_the_key_is_given_or_from_the_environment() -> None:
    """``api_key``, else ``MASIVO_API_KEY``."""
    given = from_environment(MASIVO_API_KEY="from-the-environment")
    assert given.account.api_key.reveal() == "from-the-environment"
    given = from_environment(Secret("given"), MASIVO_API_KEY="from-the-environment")
    assert given.account.api_key.reveal() == "given"


@pytest.mark.parametrize("environ", [{}, {"MASIVO_API_KEY": ""}])
def test_a_missing_key_is_refused(environ: dict[str, str]) -> None:
    """No key, or an empty one, is a MasivoConfigError that says what to do."""
    with pytest.raises(MasivoConfigError, match="MASIVO_API_KEY"):
        configure(None, environ=environ)
    with pytest.raises(MasivoConfigError, match="CLIENT key"):
        configure(Secret(""), environ={"MASIVO_API_KEY": "x"})


@pytest.mark.parametrize(
    "key", ["a b", "a\n", "\ta", "a\x00", "\x7f", "é", "\u200b", " ", "a\r\nb"]
)
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    """Control characters, blanks and non-ASCII are refused, without showing the key."""
    message = refusal(key=f"secret{key}secret")
    assert "secret" not in message
    assert refusal(key=key)


@pytest.mark.parametrize("key", [5, None, b"bytes", ["x"]])
def test_a_key_of_another_type_is_refused(key: object) -> None:
    """A key must be a str."""
    assert "api_key must be a str" in refusal(key=key)


def test_the_base_url_is_given_or_from_the_environment() -> None:
    """``base_url``, else ``MASIVO_BASE_URL``, else the public endpoint."""
    environ = {"MASIVO_BASE_URL": "https://other.test/v2/"}
    assert made(base_url=None, environ=environ).account.base_url == "https://other.test/v2"
    assert made(base_url="https://mine.test", environ=environ).account.base_url == (
        "https://mine.test"
    )
    assert made(base_url=None, environ={"MASIVO_BASE_URL": ""}).account.base_url == PUBLIC_BASE_URL


@pytest.mark.parametrize(
    ("text", "disabled"),
    [
        ("1", True),
        ("true", True),
        ("yes", True),
        ("0", False),
        ("", False),
        ("false", False),
        ("no", False),
        ("off", False),
        (" Off ", False),
    ],
)
def test_the_environment_can_disable(text: str, disabled: bool) -> None:
    """``MASIVO_DISABLED=1`` disables, whatever the argument says; 0 and the like do not."""
    assert made(environ={"MASIVO_DISABLED": text}).enabled is not disabled
    assert not made(enabled=False, environ={"MASIVO_DISABLED": text}).enabled


def test_a_disabled_client_needs_no_key() -> None:
    """Without a key a disabled client can be made; a wrong key is refused all the same."""
    assert not configure(None, enabled=False).enabled
    with pytest.raises(MasivoConfigError):
        configure(Secret("a b"), enabled=False)


def test_the_environment_can_keep_clients_on_this_machine() -> None:
    """``MASIVO_LOOPBACK_ONLY=1`` refuses any other host, and says how a test goes on; not for a
    client that is disabled."""
    environ = {"MASIVO_LOOPBACK_ONLY": "1"}
    assert made(base_url="http://127.0.0.1:5/v1", environ=environ).enabled
    assert not made(base_url=None, environ=environ, enabled=False).enabled
    for key in (Secret("a-key"), None):
        for url in (None, "https://example.test"):
            with pytest.raises(MasivoConfigError, match="the fixture masivo_emulator") as caught:
                configure(key, base_url=url, environ=environ)
            assert caught.value.message.startswith(f"base_url is {url or PUBLIC_BASE_URL!r}, but")
    assert made(base_url=None, environ={"MASIVO_LOOPBACK_ONLY": "0"}).enabled


# ── base_url ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "https://a.test",
        "https://a.test:8443/x/y",
        "https://a.test/v1/",
        "https://[2001:db8::1]/v1",
        "http://localhost",
        "http://localhost:443/x",
        "http://127.0.0.1:5000",
        "http://127.9.9.9",
        "http://[::1]:1/x",
    ],
)
def test_https_or_a_loopback_host_is_taken(url: str) -> None:
    """``https`` anywhere, plain ``http`` to a loopback host; a slash at the end is dropped."""
    assert made(base_url=url).account.base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "one"),
    [
        ("HTTPS://A.Test:443/V1/", "https://a.test/V1"),
        ("https://a.test:0443", "https://a.test"),
        ("https://a.test:80//", "https://a.test:80"),
        ("Http://LOCALHOST:80/x", "http://localhost/x"),
        ("https://[2001:DB8::1]:443/v1", "https://[2001:db8::1]/v1"),
    ],
)
def test_spellings_of_one_base_url(url: str, one: str) -> None:
    """Scheme and host are in lower case, and the scheme's own port is dropped: however its
    address is spelled, an account has one token, and its spooled events are its own."""
    account = made(base_url=url).account
    assert account == made(base_url=one).account
    assert account.base_url == one_spelling(url) == one


def test_what_is_no_address_is_spelled_as_it_is() -> None:
    """The text of a log on disk may be anything."""
    assert one_spelling("a.test/") == "a.test/"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "a.test",
            "HTTP://a.test",
            "http\u017f://a.test",
            "//a.test",
            "ftp://a.test",
            "https://",
            "https:///x",
            "HTTPS//a",
        ),
        *("https://user:pw@a.test", "https://a.test?x=1", "https://a.test/#f", "https://a.test/ "),
        *("https://a.test\n", "https://a.té", "https://a.test:0", "https://a.test:99999"),
        *("https://a.test:", "https://a.test:x", "https://[::1", "https://[:::]/", "https://a b"),
        *("http://a.test", "http://10.0.0.1", "http://0.0.0.0", "http://localhost.a.test"),
        *("http://127.0.0.1.a.test", "http://localhost@a.test", "http://[2001:db8::1]"),
        *("https://a.test\\@b.test", "https://a.test/\x00", 5, b"https://a.test"),
    ],
)
def test_any_other_base_url_is_refused(url: object) -> None:
    """Anything else is a MasivoConfigError that names ``base_url``."""
    assert "base_url" in refusal(base_url=url)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:5", True),
        ("https://127.0.0.1", True),
        ("https://[::1]/x", True),
        ("https://a.test", False),
        ("https://localhost.test", False),
        ("https://192.168.0.1", False),
    ],
)
def test_is_loopback(url: str, loopback: bool) -> None:
    """Whether the host is this machine, by its name or address alone."""
    assert is_loopback(url) is loopback


class Url:
    """An address as libraries have it (pydantic's HttpUrl, yarl's URL)."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


class Mute:
    """An object without a text."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def test_any_object_whose_text_is_an_address_is_taken() -> None:
    """``str()`` of it counts."""
    given = made(base_url=Url("https://host.example/v1/"))
    assert given.account.base_url == "https://host.example/v1"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("https://host.example\n", "not 'https://host.example\\n' (of type str)"),
        ('"https://host.example"', "not '\"https://host.example\"' (of type str)"),
        (Url("host.example"), "not 'host.example' (of type Url)"),
        (b"https://host.example", "(of type bytes)"),
        (Mute(), "not '' (of type Mute)"),
        (5, "not '5' (of type int)"),
        ("https://me:secret@host.example", "not 'https://[redacted]@host.example'"),
        ("https://me\n:secret@host.example", "not 'https://[redacted]@host.example'"),
        ("https://host.example/v1?token=\nsecret", "not 'https://host.example/v1?…'"),
        ("https://host.example/v1?token=secret", "not 'https://host.example/v1?…'"),
        ("https://host.example/v1#secret", "not 'https://host.example/v1#…'"),
        (KEY, "not '[redacted]' (of type str)"),
        ("http://Host.example/v1", "not 'http://Host.example/v1' (of type str)"),
        (Url("http://host.example"), "not 'http://host.example' (of type Url)"),
        (f"http://host.example/{KEY}", "not 'http://host.example/[redacted]' (of type str)"),
        ("x" * 10_000, f"not '{'x' * 200}…' "),
        ("x" * 201, f"not '{'x' * 200}…' "),
        ("x" * 200, f"not '{'x' * 200}' "),
    ],
)
def test_a_wrong_address_is_shown(value: object, says: str) -> None:
    """With its type, and without what may be secret in it."""
    message = refusal(base_url=value)
    assert says in message
    assert "secret" not in message
    assert KEY not in message
    assert len(message) < 500


def test_a_wrong_address_beside_a_wrong_key_is_shown() -> None:
    """The address is checked first; the key may be anything then."""
    with pytest.raises(MasivoConfigError, match="not 'nonsense'"):
        configure(Secret(cast("str", 5)), base_url="nonsense", environ={})


def test_a_wrong_address_of_the_environment_names_the_variable() -> None:
    """So that one knows where to look for the quotation marks."""
    with pytest.raises(MasivoConfigError, match=r"type str, from MASIVO_BASE_URL") as caught:
        from_environment(MASIVO_API_KEY=KEY, MASIVO_BASE_URL="'https://host.example'")
    assert "\"'https://host.example'\"" in caught.value.message


def test_a_missing_key_says_how_to_do_without() -> None:
    """Where an image is built there is no key."""
    with pytest.raises(MasivoConfigError, match="MASIVO_DISABLED=1"):
        from_environment()
    assert not from_environment(MASIVO_DISABLED="1").enabled


# ── Numbers and the rest ─────────────────────────────────────────────────────────────────────

COUNTS = [
    *("batch_size", "max_in_flight", "max_queue", "max_queue_bytes"),
    *("max_event_bytes", "max_batch_bytes"),
]
DURATIONS = ["idle_timeout", "max_wait", "await_linger", "refresh_interval", "timeout"]


@pytest.mark.parametrize("name", [*COUNTS, "max_retries"])
def test_counts_are_whole_numbers(name: str) -> None:
    """Counts are int from 1 on (``max_retries`` from 0); the message names the setting."""
    for value in (-1, 1.0, 1.5, "5", None, True, math.nan, math.inf, b"1"):
        assert name in refusal(**{name: value})


@pytest.mark.parametrize("name", COUNTS)
def test_counts_begin_at_1(name: str) -> None:
    """0 is too little, but for ``max_retries``."""
    assert name in refusal(**{name: 0})
    assert made(max_retries=0).max_retries == 0


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_are_positive_seconds(name: str) -> None:
    """Durations are numbers above 0 (and at most some 31 years); the message names the setting."""
    for value in (0, -1, 0.0, -0.5, "5", True, math.nan, math.inf, 1.1e9, 10**400):
        assert name in refusal(**{name: value})


@pytest.mark.parametrize("name", ["idle_timeout", "max_wait", "timeout"])
def test_some_durations_may_be_none(name: str) -> None:
    """``refresh_interval`` and ``await_linger`` may be None; the other durations need a number."""
    assert name in refusal(**{name: None})
    assert made(refresh_interval=None).refresh_interval is None
    assert made(await_linger=None).await_linger is None


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_are_kept_as_floats(name: str) -> None:
    """Any number in the range is taken."""
    for value in (1, 0.001, 1e9):
        assert getattr(made(**{name: value}), name) == value


def test_an_event_must_fit_a_batch() -> None:
    """``max_event_bytes`` above ``max_batch_bytes`` is refused; equal is allowed."""
    assert "max_event_bytes" in refusal(max_event_bytes=1001, max_batch_bytes=1000)
    assert made(max_event_bytes=1000, max_batch_bytes=1000).max_event_bytes == 1000


@pytest.mark.parametrize("name", ["enabled", "isolate_rejected"])
@pytest.mark.parametrize("value", [None, 0, 1, "yes"])
def test_flags_are_true_or_false(name: str, value: object) -> None:
    """Flags are bool and nothing else."""
    assert name in refusal(**{name: value})


class Name(str, Enum):  # noqa: UP042 (a StrEnum is written as its text)
    """Texts that are written as ``Name.KEY`` in an f-string."""

    KEY = "a-key-of-an-enum"
    BRAND = "shoes"
    ADDRESS = "https://host.example"


def test_texts_of_an_enum_are_taken_by_their_value() -> None:
    """A subclass of str is sent as its text, as in an event."""
    settings = configure(Secret(Name.KEY), brand_id=Name.BRAND, base_url=Name.ADDRESS)
    for text, value in (
        (settings.account.api_key.reveal(), Name.KEY),
        (settings.brand_id, "shoes"),
        (settings.account.base_url, "https://host.example"),
    ):
        assert type(text) is str
        assert text == value


@pytest.mark.parametrize("value", ["", 5, b"x", ["x"], "\ud800"])
def test_brand_id_is_a_text_that_can_be_sent(value: object) -> None:
    """``brand_id`` is a non-empty str that can be encoded, or None."""
    assert "brand_id" in refusal(brand_id=value)


class Callback:
    """A callable object."""

    def __call__(self, failure: object) -> None:
        """Take a failure."""


class Taking:
    """A class that is made of a failure."""

    def __init__(self, failure: object, note: str = "") -> None:
        """Take a failure."""


class Coroutine:
    """A callable object whose call is a coroutine."""

    async def __call__(self, failure: object) -> None:
        """Take a failure."""


async def coroutine(failure: object) -> None:
    """Take a failure."""


@pytest.mark.parametrize("value", [5, "x", coroutine, Coroutine(), functools.partial(coroutine, 1)])
def test_on_error_is_a_plain_callable(value: object) -> None:
    """``on_error`` must be callable, and no coroutine function."""
    assert "on_error" in refusal(on_error=value)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("on_error", "a FailedEvent (its event and its error)"),
        ("on_activity", "an Activity"),
        ("before_send", "the event"),
    ],
)
@pytest.mark.parametrize("value", [Callback, Callback.__call__, pow])
def test_a_callable_takes_one_argument(name: str, argument: str, value: object) -> None:
    """Otherwise each call would raise a TypeError; the error says what the argument is."""
    assert refusal(**{name: value}) == f"{name} must be callable with one argument, {argument}"


@pytest.mark.parametrize("value", [None, str, Callback(), functools.partial(str), print, Taking])
def test_a_plain_callable_is_taken(value: object) -> None:
    """Any other callable is taken."""
    assert made(on_error=value).on_error is value


# ── Api ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("api", [None, {}, "x", Api])
def test_api_is_an_api(api: object) -> None:
    """``api`` must be a ``masivo.Api``."""
    with pytest.raises(MasivoConfigError, match="Api"):
        configure(Secret(KEY), api=cast("Any", api))


# ── The argument of calls that wait ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "limit"),
    [(None, None), (math.inf, None), (0, 0.0), (0.5, 0.5), (7, 7.0), (1e300, 1e9)],
)
def test_wait_limit(given: float | None, limit: float | None) -> None:
    """A call's ``timeout`` is a number from 0 on; None and infinity are no limit."""
    assert wait_limit(given) == limit


@pytest.mark.parametrize("given", [-1, -0.001, math.nan, "5", True, b"", [], -math.inf])
def test_any_other_wait_limit_is_refused(given: object) -> None:
    """Anything else is a MasivoConfigError."""
    with pytest.raises(MasivoConfigError, match="timeout"):
        wait_limit(cast("Any", given))


def test_a_wait_limit_beyond_all_floats_is_as_good_as_none() -> None:
    """An int beyond all floats is no crash."""
    assert wait_limit(10**400) == 1e9


def test_settings_show_no_key() -> None:
    """Neither settings nor an account shows the key."""
    given = made()
    assert KEY not in shown(given) + shown(given.account) + shown(given.account.api_key)


def test_an_account_is_the_same_where_everything_is() -> None:
    """Accounts are equal, and hash alike, where key, address and choices are: so clients share."""
    assert made().account == made(batch_size=5).account
    assert hash(made().account) == hash(made().account)
    assert made().account != made(key="another-key").account
    assert made().account != made(base_url="https://b.test").account
    assert made().account != made(api=Api(events_key=None)).account


def test_the_settings_of_another_account_are_refused() -> None:
    """An engine attaches clients of its own account only: the events of another would go astray."""
    driver = Driver()
    with pytest.raises(ValueError, match="account"):
        driver.engine.attach(made(key="another-key-here"))
    driver.send(event())
    assert driver.engine.buffers == [driver.buffer]


def test_a_disabled_client_without_a_key_has_an_empty_one() -> None:
    """A disabled client's account is one like any other."""
    assert configure(None, enabled=False).account.api_key.reveal() == ""


# ── Options ──────────────────────────────────────────────────────────────────────────────────


def documented() -> dict[str, str]:
    """The options that the clients' docstring describes, each with its text."""
    _, _, text = (inspect.getdoc(ClientBase) or "").partition("Args:\n")
    entries = re.findall(
        r"^    (\w+): (.*(?:\n {8}.*)*)", text.partition("Raises:")[0], re.MULTILINE
    )
    return {name: " ".join(entry.split()) for name, entry in entries}


def test_options_are_the_same_wherever_they_stand() -> None:
    """In ClientOptions, in Settings, and in the clients' docstring, in the same order."""
    options = [*ClientOptions.__annotations__]
    of_settings = [name for name in Settings.__struct_fields__ if name != "account"]
    assert [name for name in options if name not in ("base_url", "api")] == of_settings
    assert {*options} == {*defaults()}
    assert [name for name in documented() if name not in ("api_key", "http_client")] == options


@pytest.mark.parametrize("name", [*ClientOptions.__annotations__])
def test_the_documented_default_is_the_default(name: str) -> None:
    """A number, in the unit that it is documented in; True; or a word for None."""
    text, default = documented()[name], defaults()[name]
    said = re.search(r"[Dd]efault:? ([\w,]+(?:\.\d+)?(?: [KMG]iB)?)", text)
    if name == "api":  # its fields have their own
        assert said is None
        assert default == Api()
        return
    assert said is not None
    number, _, unit = said[1].replace(",", "").partition(" ")
    if isinstance(default, bool):
        assert number == str(default)
    elif isinstance(default, int | float):
        assert float(number) * {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}[unit] == default
    else:
        assert default is None
        assert number in ("none", "the")  # "the environment's ``MASIVO_BASE_URL``"


def test_each_option_has_its_check() -> None:
    """A wrong value of any is a MasivoConfigError that names it."""
    for name in ClientOptions.__annotations__:
        assert name in refusal(**{name: object()})


def test_the_spool_is_given_or_from_the_environment() -> None:
    """``spool``, else ``MASIVO_SPOOL``; an empty one is none, and None given is none."""
    environ = {"MASIVO_SPOOL": "var/events"}
    assert made(environ=environ).spool == "var/events"
    assert made(environ=environ, spool="other").spool == "other"
    assert made(environ=environ, spool=None).spool is None
    assert made(environ={"MASIVO_SPOOL": ""}).spool is None


def test_a_spool_may_be_a_path() -> None:
    """Any object with ``__fspath__``; its text is kept. Nothing else but a str is."""
    assert made(spool=Path("var/events")).spool == str(Path("var/events"))
    said = "spool must be the path of a directory, or None for no spool"
    for wrong in (5, "", "a\0b", b"var"):
        assert refusal(spool=wrong).startswith(said)


def test_every_hint_for_an_option_names_a_thing_that_exists() -> None:
    """Each guess is a name, and no option; the hint has an option, a variable of the environment,
    or a name that Python finds, unless there is nothing to do."""
    options = {"api_key", "http_client", *ClientOptions.__annotations__}
    assert set(MEANT.values()) <= options
    for name, hint in {**MEANT, **INSTEAD}.items():
        assert name.isidentifier()
        assert name not in options
        words = re.findall(r"[A-Za-z_.]+", hint)
        assert name in NOTHING_TO_DO or any(
            word in options or word in OTHERS or hasattr(Client, word) for word in words
        )


NOTHING_TO_DO = {"atexit", "daemon"}
"""Options of other packages for what clients do without one."""

OTHERS = {
    *("MASIVO_LOG", "HTTPS_PROXY", "SSL_CERT_FILE"),
    *("logging.getLogger", "masivo.Api", "AsyncClient", "event"),
}
"""What hints name besides options and methods."""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("batchsize", "there is no option 'batchsize'; did you mean 'batch_size'?"),
        ("max_retry", "there is no option 'max_retry'; did you mean 'max_retries'?"),
        ("account", "there is no option 'account'"),
        ("flush_interval", "there is no option 'flush_interval'; did you mean 'max_wait'?"),
        ("url", "there is no option 'url'; did you mean 'base_url'?"),
        ("apiKey", "there is no option 'apiKey'; did you mean 'api_key'?"),
        ("flushAt", "there is no option 'flushAt'; did you mean 'batch_size'?"),
        ("debug", "there is no option 'debug'; set MASIVO_LOG=debug in the environment"),
        ("platform", "there is no option 'platform'; put it into each event"),
        ("connect_timeout", "there is no option 'connect_timeout'; did you mean 'timeout'?"),
        ("batch_timeout", "there is no option 'batch_timeout'; did you mean 'max_wait'?"),
        ("close_timeout", "there is no option 'close_timeout'; pass it to close(timeout)"),
        ("max_workers", "there is no option 'max_workers'; did you mean 'max_in_flight'?"),
        ("sample_rate", "there is no option 'sample_rate'; did you mean 'before_send'?"),
        ("x", "there is no option 'x'"),
    ],
)
def test_an_unknown_option_is_a_type_error(name: str, said: str) -> None:
    """As a wrong keyword argument is; it names the option that may be meant."""
    with pytest.raises(TypeError) as caught:
        configure(Secret(KEY), **cast("Any", {name: 5}))
    assert str(caught.value) == said
    with pytest.raises(TypeError, match=f"^{re.escape(said)}$"):
        Client(KEY, **cast("Any", {name: 5}))
