"""Timers: one slot per name and owner, and the next wake-up is the minimum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.sending.timers import Slot, Timer, Timers

LOG: Slot = (Timer.LOG, None)
RENEW: Slot = (Timer.REFRESH, None)


def test_the_next_wake_up_is_the_earliest_slot() -> None:
    """``next`` is the earliest time in any slot, None without one."""
    timers = Timers()
    assert timers.next() is None
    timers.set(LOG, 5.0)
    timers.set(RENEW, 3.0)
    assert timers.next() == 3.0
    assert timers.get(LOG) == 5.0
    assert timers.get((Timer.CLOSE, None)) is None


def test_setting_a_slot_replaces_what_it_held() -> None:
    """A slot holds one time: a later one replaces an earlier one, None empties it."""
    timers = Timers()
    timers.set(LOG, 3.0)
    timers.set(LOG, 5.0)
    assert timers.next() == 5.0
    assert timers.due(4.0) == []
    timers.set(LOG, None)
    timers.set(LOG, None)
    assert timers.next() is None
    assert timers.due(9.0) == []


def test_due_slots_fire_once_earliest_first() -> None:
    """Slots whose time has come fire in order of time, and are empty afterwards."""
    timers = Timers()
    owners = [object() for _ in range(3)]
    timers.set((Timer.LINGER, owners[0]), 2.0)
    timers.set((Timer.LINGER, owners[1]), 1.0)
    timers.set((Timer.CLOSE, owners[0]), 3.0)
    assert timers.due(2.0) == [(Timer.LINGER, owners[1]), (Timer.LINGER, owners[0])]
    assert timers.due(2.0) == []
    assert timers.next() == 3.0


def test_a_slot_that_fired_can_be_set_to_the_same_time() -> None:
    """A slot that is empty takes any time, one that it had before too."""
    timers = Timers()
    timers.set(LOG, 1.0)
    assert timers.due(1.0) == [LOG]
    timers.set(LOG, 1.0)
    assert timers.due(1.0) == [LOG]
    timers.set(LOG, 2.0)
    timers.set(LOG, None)
    timers.set(LOG, 2.0)
    assert timers.due(5.0) == [LOG]


def test_clearing_empties_every_slot() -> None:
    """``clear`` leaves nothing."""
    timers = Timers()
    timers.set(LOG, 1.0)
    timers.clear()
    assert timers.next() is None
    assert timers.get(LOG) is None
    assert timers.due(9.0) == []


def test_times_that_were_replaced_take_no_memory_for_long() -> None:
    """A slot that is set again and again does not pile up what it held."""
    timers = Timers()
    for number in range(10_000):
        timers.set(LOG, 1e6 - number)
    assert len(timers._heap) < 200
    assert timers.due(1e6) == [LOG]


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.none() | st.integers(0, 20), st.booleans()), max_size=300
    )
)
def test_timers_agree_with_a_naive_model(
    steps: list[tuple[int, float | None, bool]],
) -> None:
    """However slots are set and fire: the same as in a plain dict."""
    timers, model = Timers(), dict[Slot, float]()
    for owner, at, fire in steps:
        slot = (Timer.LINGER, owner)
        if fire:
            now = at or 0.0
            fired = timers.due(now)
            expected = {slot for slot, moment in model.items() if moment <= now}
            assert len(fired) == len(expected)
            assert set(fired) == expected
            assert [model[slot] for slot in fired] == sorted(model[slot] for slot in fired)
            for each in expected:
                del model[each]
        else:
            timers.set(slot, at)
            model.pop(slot, None)
            if at is not None:
                model[slot] = at
        assert timers.next() == min(model.values(), default=None)
        assert timers.get(slot) == model.get(slot)


def test_slots_of_one_time_fire_as_they_were_set() -> None:
    """Of slots that are due together, the one that was set first is first."""
    timers = Timers()
    owners = [object() for _ in range(5)]
    for owner in owners:
        timers.set((Timer.LINGER, owner), 1.0)
    assert timers.due(1.0) == [(Timer.LINGER, owner) for owner in owners]


def test_the_order_survives_many_changes() -> None:
    """However often slots are moved, the earliest is first."""
    timers = Timers()
    owners = [object() for _ in range(20)]
    for turn in range(50):
        for number, owner in enumerate(owners):
            timers.set((Timer.LINGER, owner), float((number * 7 + turn) % 20))
    assert timers.next() == 0.0
    times = [timers.get((Timer.LINGER, owner)) for owner in owners]
    due = timers.due(100.0)
    assert [times[owners.index(owner)] for _, owner in due] == [float(n) for n in range(20)]


def test_the_earliest_comes_first_however_often_another_was_set() -> None:
    """Also after the times that were replaced have been dropped."""
    timers = Timers()
    timers.set(LOG, 1000.0)
    for number in range(200):
        timers.set(RENEW, 200.0 - number)
        assert timers.next() == 200.0 - number
