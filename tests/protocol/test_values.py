"""The values that cross the core's border, and those that it holds."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from masivo._protocol import __version__, queues, settings, values
from masivo._protocol.errors import MasivoError
from masivo.protocol import (
    MAX_BODY,
    FailedEvent,
    Failure,
    Request,
    Response,
    SendEventResult,
)

VALUES: list[type[Any]] = [
    kind
    for module in (values, settings, queues)
    for kind in vars(module).values()
    if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module.__name__
]


def test_all_values_are_looked_at() -> None:
    """The values of these modules were found."""
    assert {values.Request, values.Stats, settings.Api, settings.Settings} <= set(VALUES)


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_frozen_and_small(kind: type[Any]) -> None:
    """Nobody changes a value, and none has a dict: there may be many."""
    value = object.__new__(kind)
    assert not hasattr(value, "__dict__")
    with pytest.raises(AttributeError):
        setattr(value, fields(kind)[0].name, 5)


def test_what_is_left_out_of_a_value() -> None:
    """The defaults: a failure without a status and a cause, a result without data."""
    failure = Failure("x", sent=True)
    assert (failure.status, failure.cause, failure.fatal) == (None, None, None)
    assert SendEventResult(success=False, status=0).data is None
    assert Request(1, "GET", "u", (), b"", 1.0).owner is None
    assert MAX_BODY == 1024 * 1024


def test_no_value_shows_what_may_be_secret() -> None:
    """Headers, bodies, owners and events are not in a repr; the rest is."""
    request = Request(1, "GET", "https://a.test", (("a", "hidden"),), b"hidden", 2.0, "hidden")
    assert repr(request) == "Request(id=1, method='GET', url='https://a.test', timeout=2.0)"
    assert repr(Response(200, {"a": "hidden"}, b"hidden")) == "Response(status=200)"
    failed = FailedEvent({"a": "hidden"}, MasivoError("x"))
    assert repr(failed) == "FailedEvent(error=MasivoError('x', status=None))"
    assert "is_server_key_refusal" not in repr(settings.Api())


def test_the_version_is_one() -> None:
    """What requests and the package's metadata say of the version is a version."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", __version__)
