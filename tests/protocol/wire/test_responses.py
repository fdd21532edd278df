"""The meaning of a response: its verdict, and the error in it, word for word."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.errors import MasivoAuthError, MasivoError, MasivoServerKeyError
from masivo._protocol.wire.responses import (
    AuthorizationVerdict,
    BatchVerdict,
    Delivered,
    Granted,
    Refused,
    Rejected,
    Retryable,
    Unauthorized,
    Unusable,
    read_authorization,
    read_batch,
    retry_after,
)
from masivo._protocol.wire.statuses import REJECTED, RETRYABLE
from masivo.protocol import Api, Response
from protocol.simulator import WALL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from masivo.protocol import Json

    Read: TypeAlias = Callable[..., BatchVerdict | AuthorizationVerdict]

CHECK = "Check base_url (or MASIVO_BASE_URL): this does not look like a response of the Masivo API."


def batch(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> BatchVerdict:
    """The meaning of the response to a batch."""
    return read_batch(Response(status, headers or {}, body), WALL)


def authorization(
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    server_key: bool = False,
) -> AuthorizationVerdict:
    """The meaning of the response to an authorization."""
    api = Api(is_server_key_refusal=lambda _status, _body: server_key)
    return read_authorization(Response(status, headers or {}, body), body, api, WALL)


def error_in(verdict: BatchVerdict | AuthorizationVerdict) -> MasivoError:
    """The error of a verdict that has one."""
    assert not isinstance(verdict, Delivered | Granted), verdict
    return verdict.error


# ── Verdicts ─────────────────────────────────────────────────────────────────────────────────


def test_the_statuses_are_those_that_are_promised() -> None:
    """Retryable: 408, 429, 500, 502, 503, 504. Rejected: 400, 413, 422."""
    assert {408, 429, 500, 502, 503, 504} == RETRYABLE
    assert {400, 413, 422} == REJECTED


def test_every_status_has_its_verdict() -> None:
    """Of a batch, and of an authorization without a token in it."""
    for status in range(200, 600):
        assert type(batch(status)) is (
            Delivered
            if status < 300
            else Unauthorized
            if status == 401
            else Retryable
            if status in RETRYABLE
            else Rejected
            if status in REJECTED
            else Unusable
        )
        assert type(authorization(status)) is (
            Retryable if status in RETRYABLE else Refused if 400 <= status < 500 else Unusable
        )


def test_a_success_gives_its_whole_body() -> None:
    """The parsed body of a delivered batch, None for an empty one."""
    assert batch(201, b'{"a": [1]}') == Delivered({"a": [1]})
    assert batch(204) == Delivered(None)


def test_a_token_is_granted_with_its_lifetime() -> None:
    """Only in a 2xx; an opaque token does not tell its lifetime, a JWT does."""
    assert authorization(200, b'{"data": "opaque"}') == Granted("opaque", None)
    jwt = b'{"data": "e30.eyJleHAiOjE3NjcyMjU3MDB9.s"}'  # {"exp": 1767225700}
    granted = authorization(299, jwt, {"date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    assert isinstance(granted, Granted)
    assert granted.lifetime == 100.0
    assert isinstance(authorization(400, b'{"data": "opaque"}'), Refused)


@pytest.mark.parametrize("read", [batch, authorization])
def test_a_retryable_response_tells_how_long_to_wait(read: Read) -> None:
    """The seconds of its ``Retry-After``, None without one."""
    verdict = read(503, b"", {"retry-after": "7"})
    assert isinstance(verdict, Retryable)
    assert verdict.wait == 7.0
    verdict = read(503)
    assert isinstance(verdict, Retryable)
    assert verdict.wait is None


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "x"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "5.5"}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "  7 "}, 7.0),
        ({"retry-after": "007"}, 7.0),
        ({"retry-after": "7".zfill(20)}, 7.0),
        ({"retry-after": "9" * 40}, 1e9),
        ({"retry-after": "Fri, 31 Dec 9999 00:00:00 GMT"}, 1e9),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, 0.0),
        (
            {
                "retry-after": "Fri, 02 Jan 2026 00:00:30 GMT",
                "date": "Fri, 02 Jan 2026 00:00:00 GMT",
            },
            30.0,
        ),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], wait: float | None) -> None:
    """Seconds, or a date by the response's own ``Date`` or the local clock; anything else is None,
    a date that is over is 0, and what no driver could sleep for is cut to some 31 years."""
    assert retry_after(Response(503, headers, b""), WALL) == wait


@given(st.text(max_size=30) | st.integers().map(str), st.text(max_size=30))
def test_whatever_the_header_the_wait_is_none_or_a_number(text: str, date: str) -> None:
    """Whatever the header: None, or a number of seconds from 0 on that a driver can sleep for."""
    wait = retry_after(Response(503, {"retry-after": text, "date": date}, b""), WALL)
    assert wait is None or 0.0 <= wait <= 1e9


# ── Errors ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "message", "details"),
    [
        (b'{"error": "e", "details": "d"}', "e", "d"),
        (b'{"error": "e", "message": "m", "details": {"x": 1}}', "e", {"x": 1}),
        (b'{"message": "m", "details": [1]}', "m", [1]),
        (b'{"error": "", "message": "m"}', "m", {"error": "", "message": "m"}),
        (b'{"error": 5, "message": "m"}', "m", {"error": 5, "message": "m"}),
        (b'{"error": "e", "details": null}', "e", {"error": "e", "details": None}),
        (b'{"error": "e", "details": ""}', "e", ""),
        (b'{"error": "e", "details": 0}', "e", 0),
        (b'{"code": 5}', None, {"code": 5}),
        (b'{"details": "d"}', None, "d"),
        (b'["x"]', None, ["x"]),
        (b'"text"', None, "text"),
        (b"plain text", None, "plain text"),
        (b" \n ", None, None),
        (b"", None, None),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
    ],
)
def test_message_and_details_come_from_the_body(
    body: bytes, message: str | None, details: Json
) -> None:
    """The message is the body's ``error``, else its ``message``, else a text of ours; ``details``
    is the body's ``details``, else the parsed body, else its text, else None."""
    error = error_in(batch(409, body))
    assert error.message == (message or "the API responded with an error")
    assert (error.status, error.details) == (409, details)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (302, f"the API responded with a redirect, which is never followed. {CHECK}"),
        (400, "the API rejected the request as invalid"),
        (401, "the API responded with 401, even with a fresh token; check the key's rights"),
        (403, "the API denied access"),
        (404, f"the API has no such address. {CHECK}"),
        (408, "the API gave up waiting for the request"),
        (413, "the API rejected the request as too large"),
        (418, "the API responded with an error"),
        (422, "the API rejected the events as invalid"),
        (429, "the API's rate limit is exhausted"),
        (499, "the API responded with an error"),
        (500, "the API failed"),
        (503, "the API failed"),
    ],
)
def test_a_response_that_says_nothing_has_a_message_by_its_status(
    status: int, message: str
) -> None:
    """Where the body has no message there is one of ours."""
    assert error_in(batch(status)).message == message


def test_only_the_address_is_blamed_for_a_404_and_a_redirect() -> None:
    """There is a text for every status; a 404 and a redirect say to check ``base_url``."""
    for status in range(300, 600):
        message = error_in(batch(status)).message
        assert message
        assert ("base_url" in message) is (status < 400 or status == 404)


def test_a_message_of_the_server_is_fit_for_a_log() -> None:
    """A message is one line without control characters, of bounded length."""
    error = error_in(batch(400, b'{"error": "a\\nb\\u001b[31m\\u2028c\\u0085d"}'))
    assert error.message == "a b [31m c d"
    assert error_in(batch(418, b'{"error": "%b"}' % (b"x" * 500))).message == "x" * 500
    for longer in (501, 100_000):
        error = error_in(batch(418, b'{"error": "%b"}' % (b"x" * longer)))
        assert error.message == "x" * 499 + "…"


def test_a_second_401_says_so() -> None:
    """The error for a second 401 says that the token was fresh."""
    error = error_in(batch(401, b'{"error": "no", "details": "d"}'))
    assert type(error) is MasivoAuthError
    assert error.message == "no, even with a fresh token; check the key's rights"
    assert (error.status, error.details) == (401, "d")


def test_what_is_not_json_says_to_check_base_url() -> None:
    """The error for a 2xx that is not JSON shows the beginning of the text as details."""
    error = error_in(batch(200, b"<html>" + b"x" * 10_000))
    assert error.message == f"the response is not JSON. {CHECK}"
    assert error.status == 200
    assert error.details == "<html>" + "x" * 494
    assert error_in(batch(200, b" \xff ")).details == "\ufffd"


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
        (200, False, f"the response to the authorization holds no token. {CHECK}"),
        (299, False, f"the response to the authorization holds no token. {CHECK}"),
        (300, False, f"the API responded with a redirect, which is never followed. {CHECK}"),
        (399, False, f"the API responded with a redirect, which is never followed. {CHECK}"),
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
def test_a_failed_authorization_has_its_message(
    status: int, server_key: bool, message: str
) -> None:
    """The message says what the API said, and what to check."""
    error = error_in(authorization(status, b'{"error": "no."}', server_key=server_key))
    assert type(error) is (MasivoServerKeyError if server_key else MasivoAuthError)
    assert error.message == message
    error = error_in(authorization(status, b'{"x": "y"}', server_key=server_key))
    assert (error.status, error.details) == (status, {"x": "y"})


@pytest.mark.parametrize("status", [400, 401, 403, 418])
def test_a_server_key_says_how_to_fix_it(status: int) -> None:
    """The message for a server key says to make a CLIENT key, and what the API said, if it did."""
    error = error_in(authorization(status, b'{"error": "SERVER key"}', server_key=True))
    assert type(error) is MasivoServerKeyError
    for text in ("CLIENT key", "api_key", "said: SERVER key"):
        assert text in error.message
    silent = error_in(authorization(401, server_key=True))
    assert silent.message.endswith("The API said: the API did not accept the key")


@given(st.integers(100, 599), st.binary(max_size=80), st.booleans())
def test_any_response_has_a_verdict(status: int, body: bytes, server_key: bool) -> None:
    """Whatever the body: an error has a message of one line, and can be pickled."""
    for verdict in (batch(status, body), authorization(status, body, server_key=server_key)):
        if isinstance(verdict, Delivered | Granted):
            assert 200 <= status < 300
            continue
        error = verdict.error
        assert error.message
        assert "\n" not in error.message
        again = pickle.loads(pickle.dumps(error))
        assert (again.message, again.details) == (error.message, error.details)
