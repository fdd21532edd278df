"""The values that cross the core's border, and those that it holds."""

from __future__ import annotations

import pkgutil
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import msgspec
import pytest

from masivo import _protocol
from masivo._protocol import __version__, settings, values
from masivo._protocol.batches.batch import Part
from masivo._protocol.errors import MasivoError
from masivo._protocol.reporting import activity
from masivo._protocol.storage import kept
from masivo._protocol.storage.kept import Kept
from masivo._protocol.wire import api
from masivo.protocol import (
    MAX_BODY,
    Delivery,
    FailedEvent,
    Failure,
    Output,
    Request,
    Response,
    SendEventResult,
)


def _is_value(kind: type) -> bool:
    return is_dataclass(kind) or issubclass(kind, msgspec.Struct)


CHANGING = {Delivery, Kept, Part, Output, kept._Fields}
"""The structs of the core that are no values."""
VALUES: list[type[Any]] = [
    kind
    for found in pkgutil.walk_packages(_protocol.__path__, f"{_protocol.__name__}.")
    for kind in vars(import_module(found.name)).values()
    if isinstance(kind, type) and _is_value(kind) and kind.__module__ == found.name
    if kind not in CHANGING
]


def test_values_are_frozen_and_small() -> None:
    """Nobody changes a value, and none has a dict: there may be many."""
    assert {values.Request, values.Stats, api.Api, settings.Settings, activity.Idle} <= set(VALUES)
    for kind in VALUES:
        assert kind.__dictoffset__ == 0, kind
        if is_dataclass(kind):
            value = object.__new__(kind)
            with pytest.raises(AttributeError):
                setattr(value, fields(kind)[0].name, 5)
        else:
            assert kind.__struct_config__.frozen, kind


def test_every_hint_for_an_attribute_names_one_that_exists() -> None:
    """Each guess is a name that the value does not have; the hint has one of its attributes, or a
    function of the standard library."""
    for kind, hints in values._MEANT.items():
        has = {each.name for each in fields(getattr(values, kind))}
        for name, hint in hints.items():
            assert name.isidentifier()
            assert name not in has
            assert has.intersection(re.findall(r"\w+", hint)) or "dataclasses.asdict" in hint


def test_what_is_left_out_of_a_value() -> None:
    """The defaults: a failure without a status and a cause, a result without data, an output with
    nothing to do."""
    failure = Failure("x", sent=True)
    assert (failure.status, failure.cause, failure.fatal) == (None, None, None)
    assert SendEventResult(success=False, status=0).data is None
    assert Request(1, "GET", "u", (), b"", 1.0).owner is None
    assert MAX_BODY == 1024 * 1024
    nothing = Output()
    assert nothing.dropped() == []
    assert not any(getattr(nothing, name) for name in Output.__struct_fields__ if name != "dropped")


@pytest.mark.parametrize("fields", [("200", {}, b""), (200, None, b""), (200, {}, "{}")])
def test_a_response_of_other_types_is_refused(fields: tuple[Any, Any, Any]) -> None:
    """A driver that mixes up types learns of it where it does, and not the poll."""
    found = ", ".join(type(each).__name__ for each in fields)
    with pytest.raises(TypeError, match=f"needs an int, a mapping and bytes, not {found}$"):
        Response(*fields)


@pytest.mark.parametrize(
    ("reason", "status", "found"),
    [(OSError("x"), None, "OSError and NoneType"), ("x", "200", "str and str")],
)
def test_a_failure_of_other_types_is_refused(reason: Any, status: Any, found: str) -> None:
    """The same holds for a failure: an exception is its cause, not its reason."""
    said = f"a Failure needs a str as its reason, .*, not {found}; pass an exception as its cause"
    with pytest.raises(TypeError, match=said):
        Failure(reason, sent=True, status=status)


def test_no_value_shows_what_may_be_secret() -> None:
    """Headers, bodies, owners and events are not in a repr; the rest is."""
    request = Request(1, "GET", "https://a.test", (("a", "hidden"),), b"hidden", 2.0, "hidden")
    assert repr(request) == "<Request 1 GET https://a.test>"
    assert repr(Response(200, {"a": "hidden"}, b"hidden")) == "<Response 200>"
    failed = FailedEvent({"a": "hidden"}, MasivoError("x"))
    assert repr(failed) == "FailedEvent(error=MasivoError('x', status=None))"
    assert "is_server_key_refusal" not in repr(api.Api())


def test_the_version_is_one() -> None:
    """What requests and the package's metadata say of the version is a version."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", __version__)
