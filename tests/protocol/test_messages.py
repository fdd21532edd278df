"""Every message, word for word: it names the fault and the cure, and changes on purpose only."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from masivo._protocol.errors import (
    MasivoClosedError,
    MasivoConfigError,
    MasivoValidationError,
)
from masivo.protocol import Secret, configure, wait_limit

from .simulator import Driver, error_of, event, in_batch, settings

if TYPE_CHECKING:
    from collections.abc import Callable


def message_of(kind: type[Exception], call: Callable[[], object]) -> str:
    """The message of the error that a call raises."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# ── Settings ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"api": 5}, "api must be a masivo.Api, not int"),
        (
            {"brand_id": ""},
            "brand_id must be a non-empty str that UTF-8 can encode, or None for no default",
        ),
        ({"key": 5}, "api_key must be a str, not int"),
        (
            {"key": ""},
            (
                "no API key: pass api_key, or set MASIVO_API_KEY. It must be a CLIENT key. To send "
                "nothing (while an image is built or static files are collected), set "
                "MASIVO_DISABLED=1"
            ),
        ),
        (
            {"key": "a b"},
            (
                "api_key holds a character that no header can carry (a blank, a line break, a "
                "control or a non-ASCII character); copy the CLIENT key from the Masivo dashboard "
                "again"
            ),
        ),
        (
            {"key": '"abc"'},
            ("api_key is in quotation marks: give it without them (env files of Docker keep them)"),
        ),
        (
            {"base_url": "x"},
            (
                "base_url must look like 'https://host[:port][/path]', in ASCII and without user, "
                "query or fragment, not 'x' (of type str); the public endpoint is "
                "'https://app.masivo.ai/api/storefront/v1'"
            ),
        ),
        (
            {"base_url": "http://a.test"},
            (
                "base_url must use https, not 'http://a.test' (of type str): over plain http the "
                "key could be read on the way (http is accepted for a loopback host only, such as "
                "the local emulator's)"
            ),
        ),
        (
            {"base_url": "https://a.test", "environ": {"MASIVO_LOOPBACK_ONLY": "1"}},
            (
                "base_url is 'https://a.test', but no client may connect to another machine: "
                "MASIVO_LOOPBACK_ONLY is set, as it is under pytest. Let the test request the "
                "fixture masivo_emulator, and Client() finds the local emulator (for every test: "
                "usefixtures = masivo_emulator in pytest's configuration). To reach the real API "
                "on purpose, mark the test with @pytest.mark.masivo_real_api, or set "
                "masivo_real_api = true in that configuration"
            ),
        ),
        ({"on_error": 5}, "on_error must be callable, not int"),
        (
            {"max_event_bytes": 9, "max_batch_bytes": 8},
            (
                "max_event_bytes (9) must not be above max_batch_bytes (8): "
                "such an event would fit no batch"
            ),
        ),
        ({"max_retries": -1}, "max_retries must be a whole number, 0 or more"),
        ({"batch_size": True}, "batch_size must be a whole number, 1 or more, not bool"),
        (
            {"timeout": "30"},
            "timeout must be a number of seconds above 0 (and at most 1000000000), not str",
        ),
        *(
            ({name: 0}, f"{name} must be a whole number, 1 or more")
            for name in (
                *("batch_size", "max_in_flight", "max_queue", "max_queue_bytes"),
                *("max_event_bytes", "max_batch_bytes"),
            )
        ),
        *(
            ({name: 0}, f"{name} must be a number of seconds above 0 (and at most 1000000000)")
            for name in ("idle_timeout", "max_wait", "await_linger", "refresh_interval", "timeout")
        ),
        *(({name: 0}, f"{name} must be True or False") for name in ("enabled", "isolate_rejected")),
    ],
)
def test_a_wrong_setting_has_its_message(changes: dict[str, Any], message: str) -> None:
    """A MasivoConfigError names the setting, and what it may be."""
    assert message_of(MasivoConfigError, lambda: settings(**changes)) == message


async def _coroutine(_failed: object) -> None: ...


class _Model:
    """The part of a pydantic model that counts."""

    def model_dump(self) -> dict[str, object]:
        return {}


@dataclass
class _Fields:
    type: str


class _Row(NamedTuple):
    type: str


class _Keyed:
    """The part of a ``sqlite3.Row`` that counts."""

    def keys(self) -> list[str]:
        return []


class _NaT(datetime):
    """The part of pandas' missing date that counts."""

    __hash__ = datetime.__hash__

    def __ne__(self, other: object) -> bool:
        return True

    def utcoffset(self) -> timedelta | None:
        raise ValueError("NaTType does not support utcoffset")


class _Awaited:
    async def __call__(self, _failed: object) -> None: ...


@pytest.mark.parametrize("on_error", [_coroutine, _Awaited()])
def test_a_coroutine_function_is_named_as_one(on_error: Any) -> None:
    """An ``on_error`` that would have to be awaited is no callback, an object's neither."""
    assert message_of(MasivoConfigError, lambda: settings(on_error=on_error)) == (
        "on_error must be a plain function: a coroutine function would never be awaited"
    )


def test_a_wrong_limit_has_its_message() -> None:
    """A call's ``timeout`` that is none is an error."""
    assert message_of(MasivoConfigError, lambda: wait_limit(-1.0)) == (
        "timeout must be a number of seconds, 0 or more, or None"
    )
    assert message_of(MasivoConfigError, lambda: wait_limit(cast("Any", "3"))) == (
        "timeout must be a number of seconds, 0 or more, or None, not str"
    )


# ── Events ───────────────────────────────────────────────────────────────────────────────────

NO_FORM = "has no form in JSON"
LARGE = "most readers of JSON cannot hold a number as large as that; pass it as a str"
SURROGATE = (
    "a lone surrogate cannot be encoded as UTF-8; "
    "decode the text with errors='replace' where it is read"
)


def _circle() -> list[object]:
    circle: list[object] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("inf"), f"x: inf {NO_FORM}; leave it out or use None"),
        (Decimal("NaN"), f"x: Decimal NaN {NO_FORM}; leave it out or use None"),
        (
            datetime(2026, 1, 1),  # noqa: DTZ001 (naive: what is to be refused)
            (
                "x: a naive datetime (without tzinfo) is ambiguous; "
                "pass an aware one, such as datetime.now(timezone.utc)"
            ),
        ),
        ("\ud800", f"x: {SURROGATE}"),
        ({"\ud800": 1}, f"x: {SURROGATE}"),
        (_circle(), "x[0]: contains itself"),
        (b"x", f"x: bytes {NO_FORM}; decode it to str"),
        (bytearray(b"x"), f"x: bytearray {NO_FORM}; decode it to str"),
        (_NaT(1, 1, 1), f"x: NaT {NO_FORM}; leave it out or use None"),
        ({5}, f"x: set {NO_FORM}; pass a list (sorted, if order matters)"),
        (frozenset({5}), f"x: frozenset {NO_FORM}; pass a list (sorted, if order matters)"),
        (timedelta(1), f"x: timedelta {NO_FORM}; pass its total_seconds()"),
        (1j, f"x: complex {NO_FORM}; pass str, int, float, bool, None, a list or a dict"),
        (int, f"x: type {NO_FORM}; pass str, int, float, bool, None, a list or a dict"),
        ({5: 1}, "x: the key 5 is of type int; keys must be str"),
        pytest.param(10**5000, f"x: {LARGE}", id="large int"),
        (Decimal("-1E+999"), f"x: {LARGE}"),
        (
            {"a": [0, {"b": {1}}]},
            f"x.a[1].b: set {NO_FORM}; pass a list (sorted, if order matters)",
        ),
    ],
)
def test_a_value_that_json_cannot_carry_has_its_message(value: object, message: str) -> None:
    """A MasivoValidationError names the path, the fault and the cure."""
    buffer = Driver().buffer
    assert message_of(MasivoValidationError, lambda: buffer.send(event(x=value))) == message


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (5, "an event must be a mapping such as a dict, not int"),
        (_Model(), "an event must be a mapping such as a dict, not _Model; pass its .model_dump()"),
        (
            _Fields("V"),
            "an event must be a mapping such as a dict, not _Fields; pass dataclasses.asdict(it)",
        ),
        (
            _Row("V"),
            "an event must be a mapping such as a dict, not _Row; pass its ._asdict()",
        ),
        (_Keyed(), "an event must be a mapping such as a dict, not _Keyed; pass dict(it)"),
        (
            '{"type": "V"}',
            (
                "an event must be a mapping such as a dict, not str; if it is JSON, pass "
                "json.loads(it)"
            ),
        ),
        (
            iter([{"type": "V"}]),
            "an event must be a mapping such as a dict, not list_iterator; send each of its events",
        ),
        ({}, "type is missing"),
        (
            {"type": "V", "Customer_ID": "c"},
            "customer_id is missing (did you mean 'customer_id' instead of 'Customer_ID'?)",
        ),
        ({"type": ""}, "type must be a non-empty str, not an empty one"),
        ({"type": 5}, "type must be a non-empty str, not int"),
        ({"type": "V", "customer_id": None}, "customer_id must be a non-empty str, not NoneType"),
        ({"Type": "V"}, "type is missing (did you mean 'type' instead of 'Type'?)"),
        ({"event": "V"}, "type is missing (did you mean 'type' instead of 'event'?)"),
        ({5: 1, "Type": "V"}, "type is missing (did you mean 'type' instead of 'Type'?)"),
        (
            {"type": "V", "userId": "c"},
            "customer_id is missing (did you mean 'customer_id' instead of 'userId'?)",
        ),
        (
            [{"type": "V"}],
            "an event must be a mapping such as a dict, not list; send each of its events",
        ),
        (
            {"type": "V", "customer_id": "c", "platfrom": "web"},
            (
                "brand_id is missing (did you mean 'platform' instead of 'platfrom'?): pass a "
                "str, or None where no brand applies (or give the event a platform and the client "
                "a default brand_id)"
            ),
        ),
        (
            {"type": "V", "customer_id": "c", "brand_id": 5},
            "brand_id must be a str, or None where no brand applies, not int",
        ),
        (
            {"type": "V", "customer_id": "c"},
            (
                "brand_id is missing: pass a str, or None where no brand applies "
                "(or give the event a platform and the client a default brand_id)"
            ),
        ),
        (
            {"type": "V", "customer_id": "c", "platform": "web"},
            (
                "brand_id is missing: pass a str, or None where no brand applies "
                "(or give the client a default brand_id)"
            ),
        ),
        (
            {"type": "PURCHASE", "customer_id": "c", "brand_id": None},
            (
                "type 'PURCHASE' is reserved: send it from a backend with a SERVER key through the "
                "Masivo REST API, not through this package; or give the event a type of your own"
            ),
        ),
        (event() | {5: 1}, "the event: the key 5 is of type int; keys must be str"),
        (
            event(x="y" * 400_000),
            (
                "the event is 400101 bytes long, more than the 262144 that max_event_bytes and "
                "max_batch_bytes allow; shorten it (or raise them)"
            ),
        ),
    ],
)
def test_a_wrong_event_has_its_message(wrong: Any, message: str) -> None:
    """A MasivoValidationError says what is missing or wrong, and what to do."""
    buffer = Driver().buffer
    assert message_of(MasivoValidationError, lambda: buffer.send(wrong)) == message


def test_a_default_brand_that_does_not_apply_has_its_message() -> None:
    """Where the client has a default brand, the event lacks a platform."""
    buffer = Driver(brand_id="b").buffer
    assert message_of(
        MasivoValidationError, lambda: buffer.send({"type": "V", "customer_id": "c"})
    ) == (
        "brand_id is missing: pass a str, or None where no brand applies "
        "(the client's default brand_id is filled only into events that have a platform)"
    )


def test_no_response_has_its_message() -> None:
    """The reason of the transport; that nothing was sent, and where to; that events may have been
    accepted."""
    driver = Driver(max_retries=0)
    driver.dice.always = 0.0
    driver.sign_in()
    _, (one,) = in_batch(driver, 1)
    driver.break_off("no\nroute", sent=False)
    assert error_of(one).message == "no route; nothing was sent to https://api.example.test/v1"
    _, (two,) = in_batch(driver, 2)
    driver.break_off("cut off", status=200)
    assert error_of(two).message == (
        "cut off; the API had begun to respond with success, so the events may have been "
        "accepted, and the client does not send them again"
    )


# ── Clients ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("timeout", "message"),
    [
        (None, "the client was closed before this could be delivered"),
        (0.0, "the client was closed before this could be delivered: close(timeout=0) ran out"),
        (0.5, "the client was closed before this could be delivered: close(timeout=0.5) ran out"),
        (1e7, "the client was closed before this could be delivered: close(timeout=1e+07) ran out"),
    ],
)
def test_a_close_has_its_message(timeout: float | None, message: str) -> None:
    """What a close left undelivered says which close, and how long it had."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.close(timeout)
    if timeout is None:
        driver.buffer.destroy()
        message = "the client was destroyed before this could be delivered"
    driver.advance(timeout or 0.0)
    assert error_of(delivery).message == message


def test_a_closed_client_has_its_message() -> None:
    """A call on a closed client, a wish for a token that it had, and an abandoned event."""
    driver = Driver()
    ticket = driver.buffer.token()
    driver.buffer.destroy()
    driver.poll()
    assert error_of(ticket).message == "the client was closed"
    assert message_of(MasivoClosedError, driver.buffer.flush) == (
        "the client is closed; make a new one to send more"
    )
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.buffer.abandon("the loop is gone")
    assert message_of(MasivoClosedError, driver.buffer.flush)
    driver.poll()
    assert driver.closed
    assert error_of(delivery).message == "the loop is gone before this could be delivered"
    assert driver.warnings == ["1 event was not sent: the loop is gone"]
    driver = Driver()
    driver.buffer.abandon("x")
    driver.poll()
    assert driver.warnings == []


def test_a_full_buffer_has_its_message() -> None:
    """The message names both bounds, and what to do."""
    buffer = Driver(max_queue=1, max_queue_bytes=1000).buffer
    buffer.send(event(1))
    assert error_of(buffer.send(event(2))).message == (
        "the buffer is full (max_queue=1 events, max_queue_bytes=1000): the event was "
        "not accepted. Call drain() before sending, to wait for room, or raise the bound"
    )


def test_a_disabled_clients_token_has_its_message() -> None:
    """A disabled client says that it is."""
    buffer = Driver(enabled=False).buffer
    assert message_of(MasivoConfigError, buffer.token) == "the client is disabled: it has no token"


# ── Misuse, and what values show ─────────────────────────────────────────────────────────────


def test_misuse_by_a_driver_has_its_message() -> None:
    """What a driver may not do."""
    engine = Driver().engine
    wrong = cast("Any", None)
    assert message_of(TypeError, lambda: engine.hand_back(1, wrong)) == (
        "hand_back takes a Response, a Failure or a StoreDone"
    )
    assert message_of(ValueError, lambda: engine.attach(configure(Secret("other")))) == (
        "these settings are of another account than the engine's"
    )


def test_a_spool_without_a_store_is_refused() -> None:
    """A driver that keeps nothing on disk cannot be used with a spool, unless it is disabled."""
    assert message_of(MasivoConfigError, lambda: Driver(spool="var/masivo")) == (
        "spool (or MASIVO_SPOOL) is set, but this driver keeps no events on disk: it gave "
        "Engine.attach no store. Leave the setting out, or use a driver that makes a "
        "masivo.spool.Spool"
    )
    Driver(spool="var/masivo", enabled=False)


def test_what_must_not_be_copied_says_so() -> None:
    """Deliveries, secrets and requests."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    assert message_of(TypeError, lambda: pickle.dumps(delivery)) == (
        "a client and its parts (Delivery) cannot be copied or pickled: make a client in each "
        "process"
    )
    assert message_of(TypeError, lambda: pickle.dumps(Secret("x"))) == "a secret is not pickled"
    assert message_of(TypeError, lambda: copy.deepcopy(driver.only())) == (
        "a request is not pickled: its headers hold secrets"
    )


def test_what_values_show_of_themselves() -> None:
    """Deliveries, engines and secrets."""
    driver = Driver(max_retries=0)
    assert repr(driver.engine) == "<Engine https://api.example.test/v1 token=absent>"
    driver.sign_in()
    assert repr(driver.engine) == "<Engine https://api.example.test/v1 token=fresh>"
    _, (delivery,) = in_batch(driver, 1)
    assert repr(delivery) == "<Delivery pending>"
    driver.accept()
    assert repr(delivery) == "<Delivery success=True status=200>"
    _, (delivery,) = in_batch(driver, 2)
    driver.respond(418)
    assert repr(delivery) == (
        "<Delivery failed: MasivoError('the API responded with an error', status=418)>"
    )
    assert repr(Secret("x")) == "Secret('…')"


def test_an_engine_names_what_there_is_of_a_token() -> None:
    """In each of its states."""
    driver = Driver(refresh_interval=10.0)
    driver.send_numbers(1)
    assert "token=fetching>" in repr(driver.engine)
    driver.grant()
    assert "token=fresh>" in repr(driver.engine)
    driver.advance(20.0)
    assert "token=stale>" in repr(driver.engine)
