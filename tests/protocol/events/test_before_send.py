"""The caller's ``before_send`` (``docs/reference/guarantees.md#before_send``)."""

from __future__ import annotations

from collections import UserDict
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from masivo._protocol.errors import MasivoConfigError, MasivoValidationError
from masivo.protocol import Api, BeforeSend, SendEventResult
from protocol.requests import payload
from protocol.simulator import Driver, event, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_SENT = SendEventResult(success=False, status=0, data=None)


def ready(before_send: BeforeSend, **options: Any) -> Driver:
    """A driver with a token."""
    driver = Driver(before_send=before_send, api=Api(stamp_issued_at=False), **options)
    driver.sign_in()
    return driver


def sent(driver: Driver) -> list[dict[str, Any]]:
    """The events that go out when what is buffered is flushed."""
    driver.flush()
    return payload(driver.batch())


def test_what_it_returns_is_sent_in_the_events_place() -> None:
    """Another mapping, or the copy with changes."""

    def before_send(given: dict[str, Any]) -> Mapping[str, object]:
        given["customer_id"] = given["customer_id"].upper()
        return MappingProxyType(given)

    driver = ready(before_send)
    driver.send(event(1))
    assert sent(driver) == [event(1, "C")]


def test_it_is_given_a_copy_at_every_depth() -> None:
    """Changes in it do not reach the caller's event, nor what is nested in that."""
    product = {"tags": ["a", {"b": 1}], "pair": ({"c": 2},)}
    given = event(1, product=MappingProxyType(product), list=[[1], [2]])

    def before_send(copy: dict[str, Any]) -> Mapping[str, object]:
        copy["product"]["tags"][1]["b"] = 5
        copy["product"]["pair"][0]["c"] = 6
        copy["product"]["tags"].append("new")
        copy["list"][0].clear()
        del copy["n"]
        return copy

    driver = ready(before_send)
    driver.send(given)
    (arrived,) = sent(driver)
    assert arrived["product"] == {"tags": ["a", {"b": 5}, "new"], "pair": [{"c": 6}]}
    assert arrived["list"] == [[], [2]]
    assert product == {"tags": ["a", {"b": 1}], "pair": ({"c": 2},)}
    assert (given["n"], given["list"]) == (1, [[1], [2]])


def test_none_drops_the_event() -> None:
    """Its delivery ends at once as that of a disabled client; nothing is accepted, and ``dropped``
    counts it."""
    driver = ready(lambda given: None)
    delivery = driver.buffer.send(event(1))
    assert delivery.done()
    assert delivery.claim() == NOT_SENT
    stats = driver.buffer.stats()
    assert (stats.dropped, stats.accepted, stats.overflowed) == (1, 0, 0)
    driver.flush()
    assert driver.out == []


def test_many_drops_take_no_memory() -> None:
    """They are counted in one number, now and then."""
    driver = ready(lambda given: None)
    for number in range(5000):
        driver.buffer.send(event(number))
        if driver.engine.pending:
            driver.poll()
    assert driver.buffer.stats().dropped == 5000
    assert len(driver.outbox.gate.dropped._parts) < 1100


def test_it_comes_before_the_check() -> None:
    """It may make an invalid event valid, or the other way round."""
    driver = ready(lambda given: {"type": "VIEW", "customer_id": "c", "brand_id": None, **given})
    driver.send({"n": 1})
    assert sent(driver) == [{"type": "VIEW", "customer_id": "c", "brand_id": None, "n": 1}]
    driver = ready(lambda given: {**given, "type": ""})
    with pytest.raises(MasivoValidationError, match="type must be"):
        driver.buffer.send(event(1))


class BrokenError(Exception):
    """What a caller's function raises."""


def test_an_event_for_which_it_raises_is_not_accepted() -> None:
    """The error names ``before_send`` and the class of its cause, which shows the rest."""
    cause = BrokenError("of the caller's")

    def before_send(_given: dict[str, Any]) -> None:
        raise cause

    driver = ready(before_send)
    with pytest.raises(MasivoValidationError) as caught:
        driver.buffer.send(event(1))
    assert caught.value.__cause__ is cause
    assert str(caught.value) == (
        "before_send raised BrokenError, so the event was not accepted: an event that could not "
        "be scrubbed is not sent"
    )
    assert driver.buffer.stats().accepted == 0


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes(raised: type[BaseException]) -> None:
    """What is no Exception is not for the client to catch."""

    def before_send(_given: dict[str, Any]) -> None:
        raise raised

    with pytest.raises(raised):
        ready(before_send).buffer.send(event(1))


@pytest.mark.parametrize("value", ["text", 5, True, [event(1)], {1, 2}, ()])
def test_it_must_return_a_mapping_or_none(value: Any) -> None:
    """Anything else refuses the event, and the message names its class."""
    driver = ready(lambda given: value)
    with pytest.raises(MasivoValidationError) as caught:
        driver.buffer.send(event(1))
    assert str(caught.value) == (
        f"before_send returned {type(value).__name__}, so the event was not accepted: it must "
        "return a mapping such as the event, or None to drop it"
    )


@pytest.mark.parametrize("value", [None, 5, "text", [("type", "VIEW")]])
def test_it_is_not_called_for_what_is_no_event(value: Any) -> None:
    """The check names it as without ``before_send``."""
    called: list[object] = []
    driver = ready(lambda given: called.append(given))
    with pytest.raises(MasivoValidationError, match="an event must be a mapping"):
        driver.buffer.send(value)
    assert called == []


class Unreadable(UserDict[str, object]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> object:
        """Raise, as a lazy object might."""
        raise BrokenError("not now")


def endless() -> dict[str, object]:
    """An event that holds itself."""
    made = event(1)
    made["self"] = [made]
    return made


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Unreadable(event(1)), "^the event: it could not be read: BrokenError"),
        (event(1, x=[Unreadable(a=1)]), "^x: it could not be read: BrokenError"),
        (endless(), "^the event is nested too deeply, or contains itself$"),
    ],
)
def test_an_event_that_cannot_be_copied_is_invalid(given: Any, says: str) -> None:
    """It does not go out without having been seen by ``before_send``."""
    driver = ready(lambda copy: copy)
    with pytest.raises(MasivoValidationError, match=says):
        driver.buffer.send(given)


def test_a_disabled_client_calls_it_too() -> None:
    """So that a test of the application sees what it does."""
    seen: list[object] = []

    def before_send(given: dict[str, Any]) -> dict[str, Any]:
        seen.append(given["n"])
        return given

    driver = Driver(before_send=before_send, enabled=False)
    assert driver.buffer.send(event(1)).claim() == NOT_SENT
    assert seen == [1]
    assert driver.buffer.stats().dropped == 0


def test_it_may_send() -> None:
    """It takes no lock of the client's."""

    def before_send(given: dict[str, Any]) -> dict[str, Any]:
        if given["n"] == 0:
            driver.buffer.send(event(9))
        return given

    driver = ready(before_send)
    driver.buffer.send(event(0))
    assert [each["n"] for each in sent(driver)] == [9, 0]


async def coroutine(_given: dict[str, Any]) -> None:
    """Never awaited."""


class Coroutine:
    """An object that is called as one."""

    async def __call__(self, _given: dict[str, Any]) -> None:
        """Never awaited."""


@pytest.mark.parametrize("wrong", [5, "text", coroutine, Coroutine(), partial(coroutine)])
def test_it_is_a_plain_function(wrong: Any) -> None:
    """A coroutine function is refused at construction, and so is what cannot be called."""
    with pytest.raises(MasivoConfigError, match="before_send must be"):
        settings(before_send=wrong)
