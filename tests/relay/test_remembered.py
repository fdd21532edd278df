"""The batches that a relay remembers, in virtual time."""

from __future__ import annotations

from masivo.relay.remembered import SECONDS, Remembered
from masivo.relay.store import Batch


def batch(key: str | None, digest: bytes = b"d", account: bytes = b"a") -> Batch:
    """A batch without events."""
    return Batch(account, key, digest, [])


def test_a_batch_is_found_again_by_its_account_and_key() -> None:
    """And not by one of them alone; one without a key never."""
    remembered = Remembered()
    stored = remembered.find(batch("k"))
    stored.events, stored.whole = 3, True
    assert remembered.find(batch("k", b"other")) is stored
    assert not remembered.find(batch("l")).whole
    assert not remembered.find(batch("k", account=b"b")).whole
    remembered.find(batch(None)).whole = True
    assert not remembered.find(batch(None)).whole


def test_it_is_forgotten_after_72_hours() -> None:
    """Whether anything comes in between or not."""
    now = 0.0
    remembered = Remembered(clock=lambda: now)
    remembered.find(batch("k")).whole = True
    now = SECONDS
    assert remembered.find(batch("k")).whole
    now = SECONDS + 1
    assert not remembered.find(batch("k")).whole


def test_the_oldest_makes_way() -> None:
    """Memory is bounded."""
    remembered = Remembered(most=2)
    for key in "abc":
        remembered.find(batch(key)).whole = True
    assert [remembered.find(batch(key)).whole for key in "cb"] == [True, True]
    assert not remembered.find(batch("a")).whole


def test_a_batch_of_which_nothing_was_stored_is_forgotten() -> None:
    """Another may take its key."""
    remembered = Remembered()
    first = remembered.find(batch("k"))
    remembered.forget(batch("k"))
    remembered.forget(batch(None))
    assert remembered.find(batch("k", b"other")) is not first
