"""The batches that a relay remembers, in virtual time."""

from __future__ import annotations

from masivo.relay.remembered import Remembered
from masivo.relay.store import REMEMBERED, Batch


def batch(key: str | None, digest: bytes = b"d", account: bytes = b"a") -> Batch:
    """A batch without events."""
    return Batch(account, key, digest, [])


def test_a_batch_is_found_again_by_its_account_and_key() -> None:
    """And not by one of them alone; one without a key never."""
    remembered = Remembered()
    remembered.add(batch("k"))
    remembered.add(batch(None))
    assert remembered.digest_of(batch("k", b"other")) == b"d"
    assert remembered.digest_of(batch("l")) is None
    assert remembered.digest_of(batch("k", account=b"b")) is None
    assert remembered.digest_of(batch(None)) is None


def test_it_is_forgotten_after_72_hours() -> None:
    """Later ones are not."""
    now = 0.0
    remembered = Remembered(clock=lambda: now)
    remembered.add(batch("k"))
    now = REMEMBERED
    remembered.add(batch("l"))
    assert remembered.digest_of(batch("k")) == b"d"
    now = REMEMBERED + 1
    assert remembered.digest_of(batch("k")) is None
    assert remembered.digest_of(batch("l")) == b"d"


def test_the_oldest_makes_way() -> None:
    """Memory is bounded."""
    remembered = Remembered(most=2)
    for key in "abc":
        remembered.add(batch(key))
    assert [remembered.digest_of(batch(key)) for key in "abc"] == [None, b"d", b"d"]
