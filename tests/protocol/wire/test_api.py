"""The assumptions about the API that a user can change."""

from __future__ import annotations

from typing import Any, cast

import pytest

from masivo._protocol.errors import MasivoConfigError
from masivo.protocol import Api


def test_the_defaults_of_api_are_the_assumptions_of_the_wire() -> None:
    """``Api`` holds the choices of ``docs/explanation/wire.md#not-public``; it is frozen."""
    api = Api()
    assert (api.authorize_path, api.events_path) == ("/auth/authorize", "/behavior/events/bulk")
    assert (api.events_key, api.sdk_header, api.stamp_issued_at) == ("events", "client", True)
    assert (api.content_encoding, api.max_age) == (None, 72 * 3600.0)
    assert api.reserved_types == {
        *("PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT")
    }
    with pytest.raises(AttributeError):
        cast("Any", api).events_key = "x"
    assert api == Api()
    assert hash(api) == hash(Api())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("authorize_path", each) for each in ("", "x", "x/y", "/a b", "/\n", "/é", None, 5)),
        *(("events_path", each) for each in ("", "x", "/a b", "https://a.test/", None)),
        *(("events_key", each) for each in (5, b"x", "\ud800")),
        *(("sdk_header", each) for each in ("", "a b", "a\n", "é", 5)),
        *(("reserved_types", each) for each in ("PURCHASE", 5, None, [5], [["x"]])),
        *(("is_server_key_refusal", each) for each in (None, 5, "x")),
        *(("stamp_issued_at", each) for each in (None, 1, "yes")),
        *(("max_age", each) for each in (0, 0.0, -1, float("nan"), True, "72")),
    ],
)
def test_a_wrong_choice_of_api_is_refused(name: str, value: object) -> None:
    """A field of ``Api`` of the wrong type, or that cannot be sent, is a MasivoConfigError that
    names it."""
    with pytest.raises(MasivoConfigError, match=name):
        Api(**cast("Any", {name: value}))


def test_reserved_types_may_be_any_collection() -> None:
    """Any collection of str serves as ``reserved_types``."""
    assert Api(reserved_types=cast("Any", ["A", "B"])).reserved_types == {"A", "B"}


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
        ({"max_age": 0}, "Api.max_age must be a number of seconds above 0, or None"),
    ],
)
def test_a_wrong_choice_of_api_has_its_message(changes: dict[str, Any], message: str) -> None:
    """A MasivoConfigError names the field of Api, and what it may be."""
    with pytest.raises(MasivoConfigError) as caught:
        Api(**changes)
    assert caught.value.message == message
