"""The errors, and how a response becomes one (``docs/reference/guarantees.md#errors``)."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol import errors
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
from masivo._protocol.wire.responses import (
    api_error,
    authorization_error,
    not_json_error,
    second_401,
)
from masivo.protocol import Failed, Json, unwrap

CLASSES = [
    *(MasivoError, MasivoAuthError, MasivoServerKeyError, MasivoNetworkError),
    *(MasivoValidationError, MasivoConfigError, MasivoQueueFullError, MasivoClosedError),
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_masivo_error(kind: type[MasivoError]) -> None:
    """All derive from MasivoError, with message, status and details; ``str`` shows message and
    status."""
    error = kind("what happened", status=418, details={"a": 1})
    assert isinstance(error, MasivoError)
    assert (error.message, error.status, error.details) == ("what happened", 418, {"a": 1})
    assert str(error) == "what happened (HTTP 418)"
    assert repr(error) == f"{kind.__name__}('what happened', status=418)"
    assert str(kind("x")) == "x"
    assert (kind("x").status, kind("x").details) == (None, None)


def test_an_error_has_its_message_among_its_arguments() -> None:
    """``args``, which logs and pickle read, holds the message, also where it was given by name."""
    assert MasivoError("what happened").args == ("what happened",)
    assert MasivoError(message="what happened").args == ("what happened",)


def test_the_tree_of_errors() -> None:
    """Validation and configuration errors are ValueErrors too; a server key is an authorization
    error; the classes are otherwise apart, so that an ``except`` catches what it names."""
    assert {kind.__name__ for kind in CLASSES} == set(errors.__all__)
    values = [kind for kind in CLASSES if issubclass(kind, ValueError)]
    assert values == [MasivoValidationError, MasivoConfigError]
    assert issubclass(MasivoServerKeyError, MasivoAuthError)
    for kind in CLASSES:
        parents = [each for each in CLASSES if issubclass(kind, each)]
        assert len(parents) == (
            3 if kind is MasivoServerKeyError else 1 + (kind is not MasivoError)
        )


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_survive_pickling(kind: type[MasivoError]) -> None:
    """An error survives pickling with its class, message, status and details."""
    error = kind("m", status=400, details=[1, {"a": None}])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.message, again.status, again.details) == ("m", 400, [1, {"a": None}])
    assert again.args == error.args
    assert type(copy.copy(error)) is type(copy.deepcopy(error)) is kind


@pytest.mark.parametrize("kind", CLASSES)
def test_every_waiter_gets_an_error_of_its_own(kind: type[MasivoError]) -> None:
    """``unwrap`` raises a copy: equal, with the same cause, and a traceback of its own."""
    error = kind("m", status=400, details=["d"])
    error.__cause__ = cause = OSError("x")
    outcome = Failed(error, 2, None)
    raised: list[MasivoError] = []
    for _ in range(2):
        with pytest.raises(kind) as caught:
            unwrap(outcome)
        raised.append(caught.value)
    first, second = raised
    assert first is not second
    assert error not in raised
    assert type(first) is kind
    assert (first.message, first.status, first.details) == ("m", 400, ["d"])
    assert first.__cause__ is second.__cause__ is cause
    assert error.__traceback__ is None


# ── From an answer ───────────────────────────────────────────────────────────────────────────


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
    error = api_error(409, body)
    assert error.message == (message or "the API answered with an error")
    assert (error.status, error.details) == (409, details)


@pytest.mark.parametrize(
    "status", [300, 302, 400, 401, 403, 404, 408, 413, 418, 422, 429, 500, 599]
)
def test_there_is_a_text_of_ours_for_every_status(status: int) -> None:
    """Without a message in the body there is a text; a 404 and a redirect say to check
    ``base_url``."""
    message = api_error(status, b"").message
    assert message
    assert ("base_url" in message) is (status in (300, 302, 404))


def test_a_message_of_the_server_is_fit_for_a_log() -> None:
    """A message is one line without control characters, of bounded length."""
    error = api_error(400, b'{"error": "a\\nb\\u001b[31m\\u2028c\\u0085d"}')
    assert error.message == "a b [31m c d"
    assert len(api_error(400, b'{"error": "%b"}' % (b"x" * 100_000)).message) == 500


def test_a_second_401_says_so() -> None:
    """The error for a second 401 says that the token was fresh."""
    error = second_401(b'{"error": "no", "details": "d"}')
    assert type(error) is MasivoAuthError
    assert "no" in error.message
    assert "fresh token" in error.message
    assert (error.status, error.details) == (401, "d")
    assert "refused the token" in second_401(b"").message


def test_what_is_not_json_says_to_check_base_url() -> None:
    """The error for a 2xx that is not JSON shows the beginning of the text as details."""
    error = not_json_error(200, b"<html>" + b"x" * 10_000)
    assert "base_url" in error.message
    assert isinstance(error.details, str)
    assert error.details.startswith("<html>")
    assert len(error.details) == 500


@pytest.mark.parametrize("status", [400, 401, 403, 418])
def test_a_server_key_says_how_to_fix_it(status: int) -> None:
    """The message for a server key says to make a CLIENT key, and what the API said."""
    error = authorization_error(status, b'{"error": "SERVER key"}', server_key=True)
    assert type(error) is MasivoServerKeyError
    for text in ("CLIENT key", "api_key", "SERVER key"):
        assert text in error.message
    assert "refused" in authorization_error(401, b"", server_key=True).message


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        *((status, "MASIVO_API_KEY") for status in (400, 401, 403, 422)),
        *((status, "MASIVO_BASE_URL") for status in (200, 204, 301, 307, 404, 405, 410)),
    ],
)
def test_a_failed_authorization_names_the_likely_cure(status: int, cure: str) -> None:
    """Refusals of the key say to check the key; those of the address, ``base_url``."""
    error = authorization_error(status, b'{"x": "y"}', server_key=False)
    assert type(error) is MasivoAuthError
    assert cure in error.message
    assert (error.status, error.details) == (status, {"x": "y"})


@given(st.integers(100, 599), st.binary(max_size=80), st.booleans())
def test_any_answer_becomes_an_error(status: int, body: bytes, server_key: bool) -> None:
    """Whatever the body: there is an error with a message of one line, that can be pickled."""
    for error in (
        api_error(status, body),
        second_401(body),
        not_json_error(status, body),
        authorization_error(status, body, server_key=server_key),
    ):
        assert error.message
        assert "\n" not in error.message
        again = pickle.loads(pickle.dumps(error))
        assert (again.message, again.details) == (error.message, error.details)
