"""Settings, right and wrong; and misuse by a driver."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from masivo._protocol.errors import MasivoConfigError
from masivo.protocol import (
    MAX_BODY,
    Account,
    Api,
    Request,
    Response,
    Secret,
    Settings,
    configure,
    wait_limit,
)

from .frame import Violation
from .server import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo.protocol import Delivery, Engine, OnActivity, OnError

    from .plan import ClientPlan

__all__ = ["DROPPED", "REFUSED", "check_settings", "misuse", "settings_of"]

DEFAULTS: Final[dict[str, object]] = {
    "brand_id": None,
    "batch_size": 100,
    "idle_timeout": 30.0,
    "max_wait": 60.0,
    "await_linger": 0.05,
    "refresh_interval": 300.0,
    "timeout": 10.0,
    "max_retries": 4,
    "max_in_flight": 1,
    "max_queue": 100_000,
    "max_queue_bytes": 67_108_864,
    "max_event_bytes": 262_144,
    "max_batch_bytes": 4_194_304,
    "isolate_rejected": True,
    "on_error": None,
    "before_send": None,
    "on_activity": None,
    "enabled": True,
}
"""The defaults of ``docs/reference/settings.md#settings``."""

API: Final = {
    "authorize_path": "/auth/authorize",
    "events_path": "/behavior/events/bulk",
    "events_key": "events",
    "sdk_header": "client",
    "reserved_types": frozenset(
        {"PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT"}
    ),
    "stamp_issued_at": True,
}
"""The defaults of ``docs/explanation/wire.md#not-public``."""


def settings_of(
    plan: ClientPlan, account: Account, on_error: OnError, on_activity: OnActivity
) -> Settings:
    """A client's settings."""
    values = asdict(plan)
    del values["keeps"], values["ending"], values["sends_again"]
    values["on_error"] = on_error if plan.on_error else None
    values["on_activity"] = on_activity if plan.on_activity else None
    values["before_send"] = scrubbed if plan.before_send else None
    settings = configure(account.api_key, base_url=account.base_url, api=account.api, **values)
    for name, value in values.items():
        if getattr(settings, name) != value:
            raise Violation("settings", f"{name}={value} became {getattr(settings, name)}")
    return settings


DROPPED: Final = 3
REFUSED: Final = 5
"""The numbers of events, modulo 7, that ``scrubbed`` drops, and for which it raises."""


def scrubbed(event: dict[str, Any]) -> dict[str, Any] | None:
    """The ``before_send`` of every client that has one: adds a field, drops, or fails; and spoils
    what it was given."""
    sent = {**event, "scrubbed": True}
    event.clear()
    if sent["n"] % 7 == DROPPED:
        return None
    if sent["n"] % 7 == REFUSED:
        raise ZeroDivisionError
    return sent


async def _coroutine(_failed: object) -> None:
    """No ``on_error``: it would never be awaited."""


_NUMBERS: Final = ("idle_timeout", "max_wait", "await_linger", "refresh_interval", "timeout")
_COUNTS: Final = (
    *("batch_size", "max_in_flight", "max_queue", "max_queue_bytes"),
    *("max_event_bytes", "max_batch_bytes"),
)

WRONG: Final[tuple[dict[str, Any], ...]] = (
    {"api_key": Secret("")},
    {"api_key": Secret("a\nb")},
    {"api_key": Secret("a b")},
    {"api_key": Secret("kl\u00ed\u010d")},
    {"base_url": "http://example.com/v1"},
    {"base_url": "ftp://localhost"},
    {"base_url": "https://user@host"},
    {"base_url": "https://host?x"},
    {"base_url": "https://host:99999"},
    {"base_url": "nonsense"},
    {"brand_id": ""},
    {"brand_id": 5},
    {"max_event_bytes": 100, "max_batch_bytes": 99},
    {"on_error": 5},
    {"on_error": _coroutine},
    {"before_send": 5},
    {"before_send": _coroutine},
    {"on_activity": 5},
    {"on_activity": _coroutine},
    {"enabled": 1},
    {"isolate_rejected": None},
    {"api": {}},
    {"max_retries": -1},
    {"max_retries": True},
    *({name: value} for name in _NUMBERS for value in (0, -1.0, float("nan"), float("inf"), "5")),
    *({name: value} for name in _COUNTS for value in (0, 1.5, True)),
)
"""Arguments that ``configure`` must refuse, in words that name the setting."""

WRONG_API: Final[tuple[dict[str, Any], ...]] = (
    {"authorize_path": "auth"},
    {"events_path": "/a b"},
    {"events_key": 5},
    {"sdk_header": "a\nb"},
    {"reserved_types": "PURCHASE"},
    {"is_server_key_refusal": None},
)
"""Arguments that ``Api`` must refuse."""

URLS: Final = (
    ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
    ("http://localhost", "http://localhost"),
    ("http://[::1]:5/x", "http://[::1]:5/x"),
    ("https://host.example:1/a/b//", "https://host.example:1/a/b"),
)
"""Addresses that are accepted, and what becomes of them."""


def check_settings(x: int) -> None:
    """Settings are as the contract says: the defaults, and one of the wrong ones, by ``x``."""
    wrong: tuple[tuple[Callable[..., object], dict[str, Any]], ...] = (
        *((configure, each) for each in WRONG),
        *((Api, each) for each in WRONG_API),
    )
    make, values = wrong[x % len(wrong)]
    if make is not Api:
        key: dict[str, Any] = {"api_key": Secret(KEY)}
        values = key | values
    try:
        made = make(**values)
    except MasivoConfigError as error:
        name = list(values)[-1]
        known = name in str(error) or (name == "api_key" and "API key" in str(error))
        if not known or KEY in str(error):
            raise Violation("settings", f"{error} does not name {name}") from None
    else:
        raise Violation("settings", f"{values} became {made}")
    _check_right(x)


def _check_right(x: int) -> None:
    if MAX_BODY != 1024 * 1024:
        raise Violation("settings", f"MAX_BODY is {MAX_BODY}")
    settings = configure(environ={"MASIVO_API_KEY": KEY})
    given = {name: getattr(settings, name) for name in DEFAULTS}
    if given != DEFAULTS or settings.account.base_url != "https://app.masivo.ai/api/storefront/v1":
        raise Violation("settings", f"the defaults are {settings}")
    api = {name: getattr(settings.account.api, name) for name in API}
    if api != API or KEY in repr(settings):
        raise Violation("settings", f"the defaults are {settings}")
    url, becomes = URLS[x % len(URLS)]
    environ = {"MASIVO_API_KEY": "other", "MASIVO_BASE_URL": url, "MASIVO_DISABLED": "1"}
    settings = configure(Secret(KEY), environ=environ)
    account = settings.account
    if (account.api_key.reveal(), account.base_url, settings.enabled) != (KEY, becomes, False):
        raise Violation("settings", f"from {environ} came {settings}")
    for text, enabled in (("0", True), ("no", True), ("off", True), ("true", False), ("", True)):
        if configure(Secret(KEY), environ={"MASIVO_DISABLED": text}).enabled is not enabled:
            raise Violation("settings", f"MASIVO_DISABLED={text} counts for something else")
    limits = [wait_limit(each) for each in (None, float("inf"), 0, 2, 1e300)]
    if limits != [None, None, 0.0, 2.0, 1e9]:
        raise Violation("settings", f"the limits are {limits}")


def misuse(engine: Engine, deliveries: Sequence[Delivery]) -> None:
    """See that misuse raises an error, and that a late response is ignored."""
    nonsense: Any = "nonsense"
    calls: list[Callable[[], object]] = [
        lambda: engine.hand_back(1, nonsense),
        lambda: pickle.dumps(Request(1, "GET", "", (), b"", 1.0)),
        *(lambda each=each: pickle.dumps(each) for each in deliveries[:1]),
        *(lambda each=each: copy.deepcopy(each) for each in deliveries[:1]),
    ]
    for call in calls:
        try:
            result = call()
        except TypeError:
            continue
        raise Violation("misuse", f"no TypeError, but {result!r}")
    other = configure(Secret("another-key"), base_url=engine._context.account.base_url)
    try:
        engine.attach(other)
    except ValueError:
        pass
    else:
        raise Violation("misuse", "a client of another account was attached")
    engine.hand_back(10**9, Response(200, {}, b"{}"))
