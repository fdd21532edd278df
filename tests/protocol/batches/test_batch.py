"""A batch in flight and its parts (``docs/reference/guarantees.md#rejected-batches``)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.batches.batch import Batch
from masivo._protocol.batches.queues import Taken
from masivo.protocol import Delivery


def batch_of(count: int) -> Batch:
    """A batch of this many events."""
    deliveries = [Delivery(b"{%d}" % n, 0.0, "", None) for n in range(count)]
    taken = Taken(deliveries, range(10, 10 + count), ["c"])
    return Batch(taken, [each.encoded for each in deliveries], "flush", 0.0, None)


def test_a_batch_begins_with_one_part() -> None:
    """A batch begins as one part, with its customers and numbers."""
    made = batch_of(3)
    assert len(made) == 3
    assert len(made.parts) == 1
    assert made.customers == ["c"]
    assert list(made.part.numbers) == [10, 11, 12]
    assert made.part.key == ""
    assert (made.request_id, made.retries, made.last_try) == (None, 0, False)


def test_halving_puts_two_parts_in_its_place() -> None:
    """A halved part makes way for its halves, in order, which begin anew."""
    made = batch_of(5)
    made.retries, made.last_try, made.unauthorized = 3, True, 1
    made.part.key = "k"
    assert made.halve()
    assert [list(part.numbers) for part in made.parts] == [[10, 11], [12, 13, 14]]
    assert [part.key for part in made.parts] == ["", ""]
    assert [part.events for part in made.parts] == [[b"{0}", b"{1}"], [b"{2}", b"{3}", b"{4}"]]
    assert (made.retries, made.last_try) == (0, False)
    assert made.unauthorized is None


def test_a_single_event_is_not_halved() -> None:
    """A part of one event cannot be halved."""
    assert not batch_of(1).halve()


def test_the_first_event_goes_alone() -> None:
    """The first event becomes a part of its own, before the others, and what is known of the try
    stays: a last try is still the last."""
    made = batch_of(3)
    made.last_try = True
    made.send_first_alone()
    assert [list(part.numbers) for part in made.parts] == [[10], [11, 12]]
    assert (made.trigger, made.last_try) == ("probe", True)
    made.send_first_alone()
    assert [list(part.numbers) for part in made.parts] == [[10], [11, 12]]


def test_a_part_that_was_sent_stays_whole() -> None:
    """A part with a key was sent as it is, and its retry must be the same request."""
    made = batch_of(3)
    made.part.key = "k"
    made.send_first_alone()
    assert [list(part.numbers) for part in made.parts] == [[10, 11, 12]]


def test_what_remains_is_given_once() -> None:
    """``remaining`` gives every part without an outcome, and leaves none."""
    made = batch_of(4)
    made.halve()
    made.next_part()
    assert [list(part.numbers) for part in made.remaining()] == [[12, 13]]
    assert len(made) == 0
    assert made.remaining() == []


@given(st.integers(1, 100), st.lists(st.sampled_from(["halve", "alone", "end"]), max_size=80))
def test_no_event_is_lost_or_doubled_by_halving(count: int, steps: list[str]) -> None:
    """However a batch is halved: each event is in exactly one part, in order."""
    made = batch_of(count)
    seen: list[int] = []
    for step in steps:
        if not made.parts:
            break
        if step == "halve":
            made.halve()
        elif step == "alone":
            made.send_first_alone()
        else:
            seen += made.next_part().numbers
        left = [number for part in made.parts for number in part.numbers]
        assert seen + left == list(range(10, 10 + count))
        assert len(made) == len(left)
        for part in made.parts:
            assert len(part.numbers) == len(part.deliveries) == len(part.events) > 0


def test_other_customers_leave_a_batch_that_steps_aside() -> None:
    """The events behind its current part move to a new batch, but for those of that part's
    customers. Each of the two knows its own customers and its own oldest event."""
    deliveries = [
        Delivery(b"{%d}" % n, float(at), customer, None)
        for n, (customer, at) in enumerate([("a", 4), ("b", 3), ("a", 5), ("c", 2)])
    ]
    taken = Taken(deliveries, range(4), {"a", "b", "c"})
    batch = Batch(taken, [each.encoded for each in deliveries], "flush", 0.0, None)
    batch.halve()
    batch.send_first_alone()
    rest = batch.without_part()
    assert rest is not None
    assert [list(part.numbers) for part in batch.parts] == [[0], [2]]
    assert [list(part.numbers) for part in rest.parts] == [[1], [3]]
    assert (set(batch.customers), set(rest.customers)) == ({"a"}, {"b", "c"})
    assert (batch.oldest, rest.oldest) == (4.0, 2.0)
    assert batch.without_part() is None


def test_a_part_that_keeps_its_events_stays_the_same() -> None:
    """It goes again under its key, if it was sent; what is left of a part is a new one."""
    deliveries = [Delivery(b"{%d}" % n, 0.0, "abaca"[n], None) for n in range(5)]
    batch = Batch(Taken(deliveries, range(5), {"a", "b", "c"}), [b"{}"] * 5, "flush", 0.0, None)
    for count in (1, 1, 1):
        first, others = batch.parts.pop().split(count)
        first.key = f"of {len(batch.parts)}"
        batch.parts += first, others
    batch.parts[-1].key = "of 3"
    rest = batch.without_part()
    assert rest is not None
    assert [part.key for part in batch.parts] == ["of 0", "of 2", ""]
    assert [part.key for part in rest.parts] == ["of 1", ""]
