"""Every message, word for word: it names the fault and the cure, and changes on purpose only."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from masivo._protocol.errors import (
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
    MasivoValidationError,
)
from masivo._protocol.reporting.losses import FailureLog
from masivo._protocol.wire.responses import (
    api_error,
    authorization_error,
    not_json_error,
    second_401,
)
from masivo.protocol import Api, Secret, configure, wait_limit

from .simulator import Driver, error_of, event, in_batch, settings

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK = "Check base_url (or MASIVO_BASE_URL): this does not look like an answer of the Masivo API."


def told(kind: type[Exception], call: Callable[[], object]) -> str:
    """What a call says that raises."""
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
            "no API key: pass api_key, or set MASIVO_API_KEY. It must be a CLIENT key",
        ),
        (
            {"key": "a b"},
            (
                "api_key holds a character that no header can carry (a blank, a line break, a "
                "control or a non-ASCII character); copy the CLIENT key from the Masivo dashboard "
                "once more"
            ),
        ),
        (
            {"base_url": "x"},
            (
                "base_url must look like 'https://host[:port][/path]', in ASCII and without user, "
                "query or fragment; the public endpoint is "
                "'https://app.masivo.ai/api/storefront/v1'"
            ),
        ),
        (
            {"base_url": "http://a.test"},
            (
                "base_url must use https: over plain http the key could be read on the way "
                "(http is accepted for a loopback host only, such as the local emulator's)"
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
        ({"max_retries": -1}, "max_retries must be a whole number from 0 on"),
        *(
            ({name: 0}, f"{name} must be a whole number from 1 on")
            for name in (
                *("batch_size", "max_in_flight", "max_queue", "max_queue_bytes"),
                *("max_event_bytes", "max_batch_bytes"),
            )
        ),
        *(
            ({name: 0}, f"{name} must be a number of seconds above 0 (and at most 1000000000)")
            for name in ("idle_timeout", "max_wait", "refresh_interval", "timeout")
        ),
        *(({name: 0}, f"{name} must be True or False") for name in ("enabled", "isolate_rejected")),
    ],
)
def test_a_wrong_setting_is_told(changes: dict[str, Any], message: str) -> None:
    """A MasivoConfigError names the setting, and what it may be."""
    assert told(MasivoConfigError, lambda: settings(**changes)) == message


async def _coroutine(_failed: object) -> None: ...


class _Awaited:
    async def __call__(self, _failed: object) -> None: ...


@pytest.mark.parametrize("on_error", [_coroutine, _Awaited()])
def test_a_coroutine_function_is_told_as_one(on_error: Any) -> None:
    """An ``on_error`` that would have to be awaited is refused, an object's too."""
    assert told(MasivoConfigError, lambda: settings(on_error=on_error)) == (
        "on_error must be a plain function: nobody would await a coroutine function"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({name: "x"}, f"Api.{name} must be a path that starts with '/', in visible ASCII")
            for name in ("authorize_path", "events_path")
        ),
        ({"events_key": 5}, "Api.events_key must be a str that UTF-8 can encode, or None"),
        ({"sdk_header": "a b"}, "Api.sdk_header must be a str in visible ASCII, or None"),
        ({"reserved_types": "X"}, "Api.reserved_types must be a set of str"),
        ({"reserved_types": {5}}, "Api.reserved_types must hold str only"),
        ({"is_server_key_refusal": 5}, "Api.is_server_key_refusal must be callable"),
        ({"stamp_issued_at": 1}, "Api.stamp_issued_at must be True or False"),
    ],
)
def test_a_wrong_choice_of_api_is_told(changes: dict[str, Any], message: str) -> None:
    """A MasivoConfigError names the field of Api, and what it may be."""
    assert told(MasivoConfigError, lambda: Api(**changes)) == message


def test_a_wrong_limit_is_told() -> None:
    """A call's ``timeout`` that is none is refused."""
    assert told(MasivoConfigError, lambda: wait_limit(-1.0)) == (
        "timeout must be a number of seconds from 0 on, or None"
    )


# ── Events ───────────────────────────────────────────────────────────────────────────────────

NO_FORM = "has no form in JSON"
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
                "x: a naive datetime (without tzinfo) names no moment; "
                "pass an aware one, such as datetime.now(timezone.utc)"
            ),
        ),
        ("\ud800", f"x: {SURROGATE}"),
        ({"\ud800": 1}, f"x: {SURROGATE}"),
        (_circle(), "x[0]: contains itself"),
        (b"x", f"x: bytes {NO_FORM}; decode it to str"),
        (bytearray(b"x"), f"x: bytearray {NO_FORM}; decode it to str"),
        ({5}, f"x: set {NO_FORM}; pass a list (sorted, if order matters)"),
        (frozenset({5}), f"x: frozenset {NO_FORM}; pass a list (sorted, if order matters)"),
        (timedelta(1), f"x: timedelta {NO_FORM}; pass its total_seconds()"),
        (1j, f"x: complex {NO_FORM}; pass str, int, float, bool, None, a list or a dict"),
        (int, f"x: type {NO_FORM}; pass str, int, float, bool, None, a list or a dict"),
        ({5: 1}, "x: the key 5 is of type int; keys must be str"),
        pytest.param(
            10**5000, "x: an int of so many digits cannot be written; pass it as a str", id="big"
        ),
        (
            {"a": [0, {"b": {1}}]},
            f"x.a[1].b: set {NO_FORM}; pass a list (sorted, if order matters)",
        ),
    ],
)
def test_a_value_that_json_cannot_carry_is_told(value: object, message: str) -> None:
    """A MasivoValidationError names the path, the fault and the cure."""
    buffer = Driver().buffer
    assert told(MasivoValidationError, lambda: buffer.send(event(x=value))) == message


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (5, "an event must be a mapping such as a dict, not int"),
        ({}, "type is missing"),
        ({"type": ""}, "type must be a non-empty str, not an empty one"),
        ({"type": 5}, "type must be a non-empty str, not int"),
        ({"type": "V", "customer_id": None}, "customer_id must be a non-empty str, not NoneType"),
        ({"Type": "V"}, "type is missing (did you mean 'type' where it says 'Type'?)"),
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
def test_a_wrong_event_is_told(wrong: Any, message: str) -> None:
    """A MasivoValidationError says what is missing or wrong, and what to do."""
    buffer = Driver().buffer
    assert told(MasivoValidationError, lambda: buffer.send(wrong)) == message


def test_a_default_brand_that_does_not_apply_is_told() -> None:
    """Where the client has a default brand, the event lacks a platform."""
    buffer = Driver(brand_id="b").buffer
    assert told(MasivoValidationError, lambda: buffer.send({"type": "V", "customer_id": "c"})) == (
        "brand_id is missing: pass a str, or None where no brand applies "
        "(the client's default brand_id is filled only into events that have a platform)"
    )


# ── Answers ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (302, f"the API answered with a redirect, which is never followed. {CHECK}"),
        (400, "the API refused the request as invalid"),
        (401, "the API refused the token"),
        (403, "the API refused access"),
        (404, f"the API has no such address. {CHECK}"),
        (408, "the API gave up waiting for the request"),
        (413, "the API refused the request as too large"),
        (418, "the API answered with an error"),
        (422, "the API refused the events as invalid"),
        (429, "the API's rate limit is exhausted"),
        (499, "the API answered with an error"),
        (500, "the API failed"),
        (503, "the API failed"),
    ],
)
def test_an_answer_that_says_nothing_is_told_by_its_status(status: int, message: str) -> None:
    """Where the body has no message there is one of ours."""
    assert api_error(status, b"").message == message


def test_other_answers_are_told() -> None:
    """A second 401, and a success that is not JSON."""
    assert second_401(b"").message == (
        "the API refused the token, with a fresh token too; check the key's rights"
    )
    assert not_json_error(200, b"x").message == f"the answer is not JSON. {CHECK}"
    assert not_json_error(200, b" \xff ").details == "\ufffd"
    assert not_json_error(200, b" ").details is None
    long = api_error(418, b'{"error": "%b"}' % (b"x" * 501)).message
    assert long == "x" * 499 + "…"
    exact = api_error(418, b'{"error": "%b"}' % (b"x" * 500)).message
    assert exact == "x" * 500


@pytest.mark.parametrize(
    ("status", "server_key", "message"),
    [
        (
            401,
            True,
            (
                "this is a SERVER key; masivo needs a CLIENT key. Create one in the Masivo "
                "dashboard and pass it as api_key (or MASIVO_API_KEY); keep the SERVER key for "
                "the REST API on your backend. The API said: no."
            ),
        ),
        (200, False, f"the authorization was answered without a token. {CHECK}"),
        (299, False, f"the authorization was answered without a token. {CHECK}"),
        (300, False, f"the API answered with a redirect, which is never followed. {CHECK}"),
        (399, False, f"the API answered with a redirect, which is never followed. {CHECK}"),
        *(
            (
                status,
                False,
                (
                    "authorization failed: no. Check the API key (api_key or MASIVO_API_KEY): "
                    "it must be a CLIENT key of this account."
                ),
            )
            for status in (400, 401, 403, 422)
        ),
        *((status, False, f"authorization failed: no. {CHECK}") for status in (404, 405, 410)),
        (500, False, "authorization failed: no."),
    ],
)
def test_a_failed_authorization_is_told(status: int, server_key: bool, message: str) -> None:
    """The message says what the API said, and what to check."""
    error = authorization_error(status, b'{"error": "no."}', server_key=server_key)
    assert error.message == message


def test_no_answer_is_told() -> None:
    """The reason of the transport; that nothing was sent; that events may have been accepted."""
    driver = Driver(max_retries=0)
    driver.dice.always = 0.0
    driver.sign_in()
    _, (one,) = in_batch(driver, 1)
    driver.break_off("no\nroute", sent=False)
    assert error_of(one).message == "no route; nothing was sent"
    _, (two,) = in_batch(driver, 2)
    driver.break_off("cut off", status=200)
    assert error_of(two).message == (
        "cut off; the API had begun to answer with success, so the events may have been "
        "accepted, and are not sent again"
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
def test_a_close_is_told(timeout: float | None, message: str) -> None:
    """What a close left undelivered says which close, and how long it had."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.close(timeout)
    if timeout is None:
        driver.buffer.destroy()
        message = "the client was destroyed before this could be delivered"
    driver.advance(timeout or 0.0)
    assert error_of(delivery).message == message


def test_a_closed_client_is_told() -> None:
    """A call on a closed client, a wish for a token that it had, and an abandoned event."""
    driver = Driver()
    ticket = driver.buffer.token()
    driver.buffer.destroy()
    driver.poll()
    assert error_of(ticket).message == "the client was closed"
    assert told(MasivoClosedError, driver.buffer.flush) == (
        "the client is closed; make a new one to go on sending"
    )
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.buffer.abandon("the loop is gone")
    assert told(MasivoClosedError, driver.buffer.flush)
    driver.poll()
    assert driver.closed
    assert error_of(delivery).message == "the loop is gone before this could be delivered"
    assert driver.warnings == ["1 event was not sent: the loop is gone"]
    driver = Driver()
    driver.buffer.abandon("x")
    driver.poll()
    assert driver.warnings == []


def test_a_full_buffer_is_told() -> None:
    """The message names both bounds, and what to do."""
    buffer = Driver(max_queue=1, max_queue_bytes=1000).buffer
    buffer.send(event(1))
    assert error_of(buffer.send(event(2))).message == (
        "the buffer is full (max_queue=1 events, max_queue_bytes=1000): the event was not taken. "
        "Call drain() before sending, to wait for room, or raise the bound"
    )


def test_a_disabled_clients_token_is_told() -> None:
    """A disabled client says that it is."""
    buffer = Driver(enabled=False).buffer
    assert told(MasivoConfigError, buffer.token) == "the client is disabled: it has no token"


# ── The log ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (MasivoServerKeyError, "a SERVER key was used where a CLIENT key belongs"),
        (MasivoAuthError, "authorization failed; check the API key and base_url"),
        (MasivoNetworkError, "no usable answer from the API"),
        (MasivoConfigError, "there is no usable HTTP client; see http_client"),
        (
            MasivoQueueFullError,
            "the buffer was full; raise max_queue, or call drain() before sending",
        ),
        (MasivoClosedError, "the client was closed or destroyed first"),
        (MasivoError, "the API refused them"),
        (MasivoValidationError, "the API refused them"),
    ],
)
def test_a_loss_is_logged_with_its_cause(kind: type[MasivoError], cause: str) -> None:
    """A warning names how many, the class, the status and the likely cause, and what to do."""
    tail = "For the details ask the Delivery that send_analytics_event returned"
    if kind is not MasivoQueueFullError:  # such an event was not accepted, and on_error not called
        tail += "; on_error, if set, was given them"
    why = "not delivered, and nobody asked why"
    assert FailureLog().note(kind("x", status=418), 1, 0.0) == [
        f"1 event was {why}: {kind.__name__} (HTTP 418): {cause}. {tail}"
    ]
    assert FailureLog().note(kind("x"), 2, 0.0) == [
        f"2 events were {why}: {kind.__name__}: {cause}. {tail}"
    ]


# ── Misuse, and what values show ─────────────────────────────────────────────────────────────


def test_misuse_by_a_driver_is_told() -> None:
    """What a driver may not do."""
    engine = Driver().engine
    wrong = cast("Any", None)
    assert told(TypeError, lambda: engine.handle_response(1, wrong)) == (
        "handle_response takes a Response"
    )
    assert told(TypeError, lambda: engine.handle_failure(1, wrong)) == (
        "handle_failure takes a Failure"
    )
    assert told(TypeError, lambda: engine.hand_back(1, wrong)) == "handle_failure takes a Failure"
    assert told(ValueError, lambda: engine.attach(configure(Secret("other")))) == (
        "these settings are of another account than the engine's"
    )


def test_what_must_not_be_copied_says_so() -> None:
    """Deliveries, secrets and requests."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    assert told(TypeError, lambda: pickle.dumps(delivery)) == (
        "a Delivery cannot be copied or pickled: it belongs to its client"
    )
    assert told(TypeError, lambda: pickle.dumps(Secret("x"))) == "a secret is not pickled"
    assert told(TypeError, lambda: copy.deepcopy(driver.only())) == (
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
    driver.answer(418)
    assert repr(delivery) == (
        "<Delivery failed: MasivoError('the API answered with an error', status=418)>"
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
