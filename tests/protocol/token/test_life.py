"""The life of a token, as a table (``docs/reference/guarantees.md#authorization``)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.errors import MasivoAuthError
from masivo._protocol.token.life import TRANSITIONS, Change, State, Token
from protocol.simulator import Dice

ERROR = MasivoAuthError("no")


def token(*draws: float) -> Token:
    """A token's life with these random draws."""
    source = Dice(1)
    source.fix(*draws)
    return Token(source)


def fetched(*draws: float, life: float | None = None) -> Token:
    """A token that came at time 100."""
    made = token(*draws)
    made.change(Change.NEEDED)
    made.grant("t", life, 100.0, on_time=False)
    return made


def test_every_change_is_in_the_table_or_changes_nothing() -> None:
    """The table says where each change leads; what is not in it changes nothing."""
    for state in State:
        for change in Change:
            made = token()
            made.state = state
            assert made.change(change) is ((state, change) in TRANSITIONS)
            assert made.state is TRANSITIONS.get((state, change), state)


def test_every_state_can_be_left_and_reached() -> None:
    """No state is a dead end, and none is out of reach."""
    assert {state for state, _ in TRANSITIONS} == set(State) == set(TRANSITIONS.values())


@given(st.lists(st.sampled_from([*Change]), max_size=30))
def test_there_is_a_value_exactly_while_the_state_says_so(changes: list[Change]) -> None:
    """Whatever happens: there is a token in FRESH and STALE, and in no other state."""
    made = token()
    for change in changes:
        if change is Change.GRANTED:
            if (made.state, change) in TRANSITIONS:
                made.grant("t", None, 0.0, on_time=False)
        else:
            made.change(change)
        assert (made.value is not None) is (made.state in (State.FRESH, State.STALE))
        assert made.authorizing is (made.state in (State.FETCHING, State.STALE))


def test_a_refusal_lasts_30_seconds_while_there_is_no_token() -> None:
    """For 30 s after a refusal, and only while nothing is fetched and there is no token, it is
    what events fail with."""
    made = token()
    assert made.refusal_at(0.0) is None
    made.change(Change.NEEDED)
    made.change(Change.FAILED)
    made.refuse(ERROR, 10.0, 30.0)
    assert made.refusal_at(10.0) is ERROR
    assert made.refusal_at(39.99) is ERROR
    assert made.refusal_at(40.0) is None
    made.change(Change.NEEDED)
    assert made.refusal_at(20.0) is None
    made.grant("t", None, 20.0, on_time=False)
    made.change(Change.REVOKED)
    assert made.refusal_at(20.0) is None


def test_refusals_in_a_row_last_longer() -> None:
    """Each lasts twice as long as the one before, up to a bound. A token that the API takes ends
    the row; one that it only grants does not."""
    made = token()
    for lasts in (30.0, 60.0, 100.0, 100.0):
        made.refuse(ERROR, 0.0, 100.0)
        assert made.refused_until == lasts
    made.change(Change.NEEDED)
    made.grant("t", None, 0.0, on_time=False)
    made.refuse(ERROR, 0.0, 100.0)
    assert made.refused_until == 100.0
    made.trust()
    made.refuse(ERROR, 0.0, 100.0)
    assert made.refused_until == 30.0


@pytest.mark.parametrize(("draw", "at"), [(0.0, 130.0), (0.5, 265.0), (1.0, 400.0)])
def test_the_first_renewal_is_spread(draw: float, at: float) -> None:
    """A token that was needed is renewed after a random 10 to 100 % of the interval."""
    assert fetched(draw).renew_at(300.0) == pytest.approx(at)


def test_a_renewal_on_time_keeps_the_interval() -> None:
    """A token renewed on time is renewed again after the whole interval."""
    made = fetched(0.0)
    made.change(Change.DUE)
    assert made.renew_at(300.0) is None
    made.grant("u", None, 200.0, on_time=True)
    assert made.renew_at(300.0) == 500.0
    assert made.renew_at(None) is None


@pytest.mark.parametrize(
    ("life", "draw", "at"),
    [(3600.0, 0.0, 3400.0), (3600.0, 1.0, 3100.0), (100.0, 0.0, 190.0), (100.0, 1.0, 180.0)],
)
def test_a_token_is_renewed_before_it_expires(life: float, draw: float, at: float) -> None:
    """A token that tells its expiry is renewed 300 s to 600 s before it, at most a tenth to a
    fifth of its life."""
    assert fetched(draw, life=life).renew_at(None) == pytest.approx(at)


def test_the_earlier_of_interval_and_expiry_counts() -> None:
    """With both, the earlier counts."""
    assert fetched(1.0, life=100.0).renew_at(300.0) == pytest.approx(180.0)
    assert fetched(1.0, life=10_000.0).renew_at(300.0) == 400.0


def test_a_token_is_dead_at_its_expiry() -> None:
    """A token is known to be dead from its expiry on; one that does not tell, or tells an expiry
    in the past (a clock is wrong), never."""
    made = fetched(life=50.0)
    assert not made.expired(149.9)
    assert made.expired(150.0)
    assert not fetched(life=None).expired(1e9)
    assert not fetched(life=-5.0).expired(1e9)
    assert not fetched(life=0.0).expired(1e9)
    assert fetched(1.0, life=-5.0).renew_at(None) is None


def test_a_life_of_less_than_a_second_is_one() -> None:
    """A token that tells of any life ends with it."""
    token = Token(Dice(1))
    token.change(Change.NEEDED)
    token.grant("t", 0.5, 100.0, on_time=False)
    assert not token.expired(100.4)
    assert token.expired(100.5)
    assert token.renew_at(None) is not None
