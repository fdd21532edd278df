"""The type of an event, for type checkers and for libraries that validate by annotations."""

# mypy: disable-error-code="call-arg"
# mypy does not know extra keys (PEP 728) yet, and reports them as errors.

from __future__ import annotations

import sys

# At run time, too: libraries that validate by annotations resolve those of AnalyticsEvent.
from collections.abc import Mapping  # noqa: TC003
from typing import TYPE_CHECKING, Any, Required, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    from typing_extensions import ReadOnly, TypedDict  # not installed: checkers bring its types
elif sys.version_info >= (3, 12):
    from typing import TypedDict
else:
    try:  # pydantic, which brings it, takes no other on this Python
        from typing_extensions import TypedDict
    except ImportError:
        from typing import TypedDict

__all__ = ["AnalyticsEvent"]

if TYPE_CHECKING:
    Moment: TypeAlias = datetime | str
else:
    Moment = Any  # msgspec has no union of the two


class _Fields(TypedDict, total=False):
    """The fields with a type of their own.

    They are the vendor's (``docs/explanation/wire.md#documented-by-the-vendor``).
    """

    type: Required[str]
    """The tracking type, such as ``ADD_TO_CART``, or one of your own."""
    customer_id: Required[str]
    """The customer."""
    brand_id: str | None
    """The brand; None where no brand applies. May be missing if the event has a ``platform`` and
    the client has a default ``brand_id``."""
    platform: str
    """The platform on which the event happened."""
    order: Mapping[str, object]
    """``purchase_id``, ``value``, ``products``, and so on."""
    product: Mapping[str, object]
    """``sku``, ``amount``, ``value``, and so on."""
    fulfilled: bool
    """False: the event waits, and rewards nothing, until it is fulfilled through the REST API."""
    reserve: float
    """The number of days that an event which is not fulfilled waits."""
    redeem: list[Mapping[str, object]]
    """A field of the vendor's; passed through as it is."""
    tags: Mapping[str, object] | list[str]
    """A field of the vendor's; passed through as it is."""
    referral_code: str
    """A field of the vendor's; passed through as it is."""
    metadata: Mapping[str, object]
    """Anything of your own."""
    issued_at: Moment
    """The time of the event, as an aware datetime or ISO 8601 text: at most 72 hours ago,
    not in the future. Stamped if absent."""


if TYPE_CHECKING:

    class AnalyticsEvent(_Fields, total=False, extra_items=ReadOnly[object]):
        """The type of an event, for type checkers, pydantic and msgspec. A client also takes any
        other mapping; further keys are sent unchanged.
        """

else:
    # The docstrings of the fields are for editors and the site: ``help`` shows this one alone.
    class AnalyticsEvent(_Fields, total=False):
        """The type of an event, for type checkers, pydantic and msgspec. A client also takes any
        other mapping; further keys are sent unchanged.

        Required: ``type`` and ``customer_id``, and ``brand_id`` unless the event has a ``platform``
        and the client has a default ``brand_id``. Optional: ``platform``, ``order``, ``product``,
        ``fulfilled``, ``reserve``, ``redeem``, ``tags``, ``referral_code``, ``metadata`` and
        ``issued_at``. ``docs/reference/events.md`` has the rules.
        """

    # pydantic keeps extra keys, too.
    AnalyticsEvent.__pydantic_config__ = {"extra": "allow"}
