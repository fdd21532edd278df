"""The errors: one tree, whose members can be copied and pickled
(``docs/reference/guarantees.md#errors``)."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

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
from masivo.protocol import Failed, unwrap

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
    assert str(kind("x").as_spooled()) == ("x; the event is kept on disk and will be sent later")
    assert (kind("x").status, kind("x").details) == (None, None)


def test_an_error_has_its_message_among_its_arguments() -> None:
    """``args``, which logs and pickle read, holds the message, also where it was given by name."""
    assert MasivoError("what happened").args == ("what happened",)
    assert MasivoError(message="what happened").args == ("what happened",)


def test_the_tree_is_that_of_the_docs() -> None:
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


@pytest.mark.parametrize(
    ("kind", "yes", "no"),
    [
        (MasivoError, {408, 429, 500, 501, 503, 599}, {None, 302, 400, 403, 404, 413, 422, 499}),
        (MasivoAuthError, {400, 401, 403, 404, 503}, {200, 302}),
        (MasivoServerKeyError, {400, 401, 403}, set[int]()),
        (MasivoNetworkError, {None, 199, 300, 404, 503}, {200, 204, 299}),
        (MasivoValidationError, set[int](), {None}),
        (MasivoConfigError, set[int](), {None}),
        (MasivoQueueFullError, {None}, set[int]()),
        (MasivoClosedError, {None}, set[int]()),
    ],
)
def test_an_error_says_if_to_send_again_may_help(
    kind: type[MasivoError], yes: set[int | None], no: set[int | None]
) -> None:
    """``retryable``: no usable response, 408, 429, 5xx, a refused key, a full buffer, a closed
    client; a copy and a pickled error say the same."""
    for status in yes | no:
        error = kind("m", status=status)
        assert error.retryable is (status in yes)
        assert error.copy().retryable is error.retryable
        assert pickle.loads(pickle.dumps(error)).retryable is error.retryable


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_survive_pickling(kind: type[MasivoError]) -> None:
    """An error survives pickling with its class, message, status and details, and says whether the
    event is kept on disk."""
    error = kind("m", status=400, details=[1, {"a": None}])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.message, again.status, again.details) == ("m", 400, [1, {"a": None}])
    assert again.spooled is False
    assert pickle.loads(pickle.dumps(error.as_spooled())).spooled is True
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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("status_code", "'MasivoAuthError' object has no attribute 'status_code': use status"),
        ("response", "'MasivoAuthError' object has no attribute 'response': use details"),
        ("reason", "'MasivoAuthError' object has no attribute 'reason': use message"),
        ("colour", "'MasivoAuthError' object has no attribute 'colour'"),
    ],
)
def test_a_guessed_attribute(name: str, meant: str) -> None:
    """Gets an AttributeError that names the one that is meant, as code that handles failures is
    seldom run."""
    error = MasivoAuthError("refused", status=401)
    with pytest.raises(AttributeError) as caught:
        getattr(error, name)
    assert str(caught.value) == meant
    assert caught.value.name == name


def test_every_hint_for_an_attribute_names_one_that_exists() -> None:
    """Each guess is a name that errors do not have; the hint has an attribute, or ``on_error``."""
    error = MasivoError("refused")
    for name, hint in errors._MEANT.items():
        assert name.isidentifier()
        assert name not in dir(error)
        assert {*dir(error), "on_error"} & {*re.findall(r"\w+", hint)}
