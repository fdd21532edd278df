"""The types that type checkers see for an event are those that the server accepts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import get_type_hints

from masivo import AnalyticsEvent
from masivo._protocol.wire import schema

RULES_OF_THEIR_OWN = {"type", "customer_id", "brand_id", "issued_at"}

OBJECT = Mapping[str, object]
SPELLED = {
    schema.TEXT: str,
    schema.NUMBER: float,
    schema.FLAG: bool,
    schema.OBJECT: OBJECT,
    schema.LABELS: OBJECT | list[str],
}


def spelled(kind: schema.Kind | schema.Each | schema.Shape) -> object:
    """The annotation for a field of the schema."""
    if isinstance(kind, schema.Kind):
        return SPELLED[kind]
    return list[OBJECT] if isinstance(kind, schema.Each) else OBJECT


def test_analytics_event_has_the_types_of_the_schema() -> None:
    """Each field of AnalyticsEvent is annotated as the vendor's schema has it; none is missing."""
    names = {"Mapping": Mapping, "datetime": datetime}  # imported for type checkers only
    hints = get_type_hints(AnalyticsEvent, localns=names)
    assert hints.keys() >= RULES_OF_THEIR_OWN
    annotated = {name: hint for name, hint in hints.items() if name not in RULES_OF_THEIR_OWN}
    assert annotated == {name: spelled(kind) for name, kind in schema._EVENT.items()}


def test_help_names_each_field() -> None:
    """``help(masivo.AnalyticsEvent)`` shows the docstring of the class, and none of a field's."""
    fields = get_type_hints(AnalyticsEvent, localns={"Mapping": Mapping, "datetime": datetime})
    named = re.findall(r"``(\w+)``", AnalyticsEvent.__doc__ or "")
    assert set(named) == fields.keys()
