"""The guess at a batch's trigger."""

from datetime import UTC, datetime, timedelta

import pytest

from masivo.emulator import Json
from masivo.emulator.inspector.trigger import (
    KEPT_KEYS,
    KEPT_REJECTED,
    Batch,
    Guess,
    Guesser,
    Trigger,
)

NOW = 1_000_000.0


def aged(*ages: float | None) -> list[Json]:
    """Return events that are this many seconds old at NOW, distinct; None: not stamped."""
    events: list[Json] = []
    for number, age in enumerate(ages):
        event: dict[str, Json] = {"n": number}
        if age is not None:
            moment = datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=age)
            event["issued_at"] = moment.isoformat(timespec="milliseconds")
        events.append(event)
    return events


def batch(
    events: list[Json], *, number: int = 1, size: int = 1_000, key: str | None = None
) -> Batch:
    """Return a batch that arrived at NOW."""
    return Batch(number, NOW, events, size, key)


def guess(events: list[Json], *, size: int = 1_000) -> Guess:
    """Return the guess for the first batch of all."""
    return Guesser().guess(batch(events, size=size))


@pytest.mark.parametrize(
    ("ages", "trigger"),
    [
        ((0.5,), Trigger.ASKED),
        ((29.0, 1.2), Trigger.ASKED),
        ((30.4,), Trigger.IDLE),
        ((45.0, 30.0), Trigger.IDLE),
        ((61.0, 31.0), Trigger.IDLE),
        ((60.9, 12.0), Trigger.MAX_WAIT),
        ((60.9, 0.3), Trigger.MAX_WAIT),
        ((12.0,), Trigger.UNCLEAR),
        ((90.0, 80.0), Trigger.UNCLEAR),
        ((None,), Trigger.UNCLEAR),
        ((-5.0,), Trigger.UNCLEAR),
    ],
)
def test_by_age(ages: tuple[float | None, ...], trigger: Trigger) -> None:
    """The age of the last event shows idle_timeout, that of the first max_wait."""
    assert guess(aged(*ages)).trigger is trigger


@pytest.mark.parametrize("stamp", ["yesterday", 5, None, "0001-01-01T00:00:00"])
def test_stamps_that_do_not_tell(stamp: Json) -> None:
    """A stamp that is no time, or is far away, is no error."""
    assert guess([{"issued_at": stamp}]).trigger is Trigger.UNCLEAR


def test_events_that_are_none() -> None:
    """Anything an app sends instead of an event is no error."""
    assert guess([5]).trigger is Trigger.UNCLEAR


def test_a_stamp_without_an_offset_is_utc() -> None:
    """As the API takes it."""
    assert guess([{"issued_at": "1970-01-12T13:46:10"}]).trigger is Trigger.IDLE


def test_full_by_the_defaults() -> None:
    """100 events, or nearly 4 MiB, are a full batch, however old."""
    assert guess(aged(*[30.5] * 100)).trigger is Trigger.FULL
    assert guess(aged(0), size=4_100_000).trigger is Trigger.FULL


def test_full_by_custom() -> None:
    """A size that comes for the third time, and was never passed, is taken for batch_size."""
    guesser = Guesser()
    triggers = [guesser.guess(batch(aged(*[0] * 10))).trigger for _ in range(3)]
    assert triggers == [Trigger.ASKED, Trigger.ASKED, Trigger.FULL]
    assert guesser.guess(batch(aged(*[0] * 9))).trigger is Trigger.ASKED
    assert guesser.guess(batch(aged(*[0] * 11))).trigger is Trigger.ASKED
    assert guesser.guess(batch(aged(*[0] * 10))).trigger is Trigger.ASKED


def test_small_batches_of_one_size_are_not_full() -> None:
    """One event a flush says nothing of batch_size."""
    guesser = Guesser()
    triggers = {guesser.guess(batch(aged(0))).trigger for _ in range(10)}
    assert triggers == {Trigger.ASKED}


def test_retry() -> None:
    """An Idempotency-Key that came before makes it a retry of the first batch that had it."""
    guesser = Guesser()
    events = aged(0)
    assert guesser.guess(batch(events, number=4, key="k")).trigger is Trigger.ASKED
    for number in (5, 6):
        again = guesser.guess(batch(events, number=number, key="k"))
        assert again.trigger is Trigger.RETRY
        assert "request 4 " in again.why
    assert guesser.guess(batch(events, number=7, key="other")).trigger is Trigger.ASKED


def test_a_batch_is_no_retry_of_itself() -> None:
    """A batch that is guessed again keeps its guess."""
    guesser = Guesser()
    both = [guesser.guess(batch(aged(0), number=4, key="k")).trigger for _ in range(2)]
    assert both == [Trigger.ASKED, Trigger.ASKED]


def test_part() -> None:
    """Fewer events, side by side in a rejected batch, are a part of it."""
    guesser = Guesser()
    whole = aged(*[0] * 8)
    guesser.rejected(batch(whole, number=3, key="k"))
    half = guesser.guess(batch(whole[4:], number=4, key="l"))
    assert half.trigger is Trigger.PART
    assert "request 3 " in half.why
    guesser.rejected(batch(whole[4:], number=4, key="l"))
    quarter = guesser.guess(batch(whole[6:], number=5))
    assert "request 4 " in quarter.why, "the smallest whole is named"
    assert guesser.guess(batch(whole)).trigger is Trigger.ASKED
    assert guesser.guess(batch([whole[0], whole[2]])).trigger is Trigger.ASKED
    assert guesser.guess(batch([*whole[6:], *aged(0)])).trigger is Trigger.ASKED


def test_what_is_remembered_is_bounded() -> None:
    """The oldest keys and rejections are forgotten."""
    guesser = Guesser()
    for number in range(KEPT_KEYS + 1):
        guesser.guess(batch(aged(0), number=number, key=str(number)))
    assert guesser.guess(batch(aged(0), key="0")).trigger is Trigger.ASKED
    assert guesser.guess(batch(aged(0), key=str(KEPT_KEYS))).trigger is Trigger.RETRY
    wholes: list[list[Json]] = [[{"whole": at}, {}] for at in range(KEPT_REJECTED + 1)]
    for whole in wholes:
        guesser.rejected(batch(whole))
    assert guesser.guess(batch([wholes[0][0]])).trigger is Trigger.UNCLEAR
    assert guesser.guess(batch([wholes[1][0]])).trigger is Trigger.PART


def test_every_guess_says_why() -> None:
    """A sentence goes with each guess."""
    for ages in ((0,), (30,), (60, 5), (12,), (None,), (0,) * 100):
        assert len(guess(aged(*ages)).why) > 20
