"""The queues: the order of events, and counts that always agree."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.batches.in_order import InOrder
from masivo._protocol.batches.queues import Fifo, PerCustomer
from masivo._protocol.events.form import STAMP_SIZE, size
from masivo.protocol import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable


Queue: TypeAlias = Fifo | InOrder | PerCustomer

FORMS: dict[str, Callable[[], Queue]] = {
    "Fifo": Fifo,
    "PerCustomer": lambda: PerCustomer(WHOLE),
    "InOrder": InOrder,
}
forms = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)

WHOLE = 4
"""How many events are a whole batch."""


def delivery(
    customer: str, number: int = 0, length: int = 10, *, stamped: bool = False
) -> Delivery:
    """A waiting event that is sent in this many bytes."""
    text = b"{" + b"x" * (length - 1)
    if stamped:
        text = b'"' + b"x" * (length - 1 - STAMP_SIZE)
    return Delivery(text, float(number), customer, None)


def customers(deliveries: list[Delivery]) -> list[str | None]:
    """Whose events they are."""
    return [each.customer for each in deliveries]


@forms
def test_an_empty_queue_gives_nothing(make: Callable[[], Queue]) -> None:
    """An empty queue has no oldest event and gives nothing."""
    queue = make()
    assert queue.oldest() is None
    assert (queue.ready, queue.ready_bytes, queue.arrived) == (0, 0, 0)
    assert queue.take(5, 100).deliveries == []
    assert queue.clear().deliveries == []
    queue.release(["a"])
    assert queue.ready == 0


@forms
def test_an_event_that_exceeds_the_budget_is_taken_alone(make: Callable[[], Queue]) -> None:
    """At least one event is taken, whatever its size, and none beside it."""
    queue = make()
    queue.extend([delivery("a", 0, 100), delivery("b", 1, 10)])
    assert len(queue.take(5, 50).deliveries) == 1
    assert (queue.ready, queue.ready_bytes) == (1, 11)


@forms
def test_the_budget_counts_a_comma_for_each_event(make: Callable[[], Queue]) -> None:
    """The bytes are those of the events as sent, stamps included, and a comma each."""
    for budget, count in ((198, 2), (199, 2), (197, 1), (297, 3), (296, 2)):
        queue = make()
        queue.extend([delivery("a", n, 98, stamped=n == 1) for n in range(5)])
        assert queue.ready_bytes == 5 * 99
        assert len(queue.take(9, budget).deliveries) == count


def test_customers_in_flight_are_passed_over() -> None:
    """A customer whose events were taken gives no more until it is released; others do."""
    queue = PerCustomer(100)
    queue.extend([delivery("a", 0), delivery("a", 1), delivery("b", 2), delivery("a", 3)])
    taken = queue.take(2, 999)
    assert customers(taken.deliveries) == ["a", "a"]
    assert set(taken.customers) == {"a"}
    assert queue.ready == 1
    assert queue.oldest() == (2.0, 2)
    queue.extend([delivery("a", 4)])
    assert queue.ready == 1
    assert customers(queue.take(9, 999).deliveries) == ["b"]
    assert queue.oldest() is None
    queue.release(taken.customers)
    assert queue.oldest() == (3.0, 3)
    assert [each.at for each in queue.take(9, 999).deliveries] == [3.0, 4.0]


def test_the_customer_with_the_oldest_event_goes_first() -> None:
    """Of the customers that are free, the one whose oldest event is oldest goes first."""
    queue = PerCustomer(100)
    queue.extend([delivery("a", 0), delivery("b", 1), delivery("a", 2)])
    first = queue.take(1, 999)
    assert customers(first.deliveries) == ["a"]
    assert customers(queue.take(1, 999).deliveries) == ["b"]
    queue.extend([delivery("c", 3)])
    queue.release(first.customers)
    assert [each.at for each in queue.take(1, 999).deliveries] == [2.0]


def test_a_batch_holds_events_of_one_log() -> None:
    """Though customers have events in another log: theirs wait, and the others' go on."""
    queue = PerCustomer(100)
    queue.source_of = lambda delivery: delivery.at < 10
    queue.extend([delivery(name, at) for at in (1, 11, 2) for name in "abc"])
    taken: list[tuple[str, list[int]]] = []
    while queue.ready:
        batch = queue.take(5, 1_000)
        names = "".join(each.customer or "" for each in batch.deliveries)
        taken.append((names, [int(each.at) for each in batch.deliveries]))
        queue.release(batch.customers)
    assert taken == [("abc", [1, 1, 1]), ("abc", [11, 11, 11]), ("abc", [2, 2, 2])]


def test_clearing_gives_everything_in_order_of_arrival() -> None:
    """``clear`` gives what waits, held back or not, in order of arrival, with its numbers."""
    queue = PerCustomer(100)
    queue.extend([delivery(each, n) for n, each in enumerate("abcab")])
    taken = queue.take(1, 999)
    cleared = queue.clear()
    assert [each.at for each in cleared.deliveries] == [1.0, 2.0, 3.0, 4.0]
    assert list(cleared.numbers) == [1, 2, 3, 4]
    assert (queue.ready, queue.ready_bytes) == (0, 0)
    queue.release(taken.customers)
    queue.extend([delivery("a", 9)])
    assert list(queue.take(1, 999).numbers) == [5]


Step: TypeAlias = list[tuple[str, int]] | tuple[int, int] | str
"""Events to append (customer and size), a take (count and budget), or another call."""


def test_who_has_a_whole_batch_waiting_is_always_on_the_way() -> None:
    """One such customer goes before older events of others: their batches can go side by side, his
    cannot. While he is on his way, the oldest go first."""
    queue = PerCustomer(2)
    queue.extend([delivery(each, n) for n, each in enumerate("abcb")])
    queue.extend([delivery("b", n) for n in range(4, 7)])
    first = queue.take(2, 1 << 20)
    assert list(first.numbers) == [1, 3]
    assert list(queue.take(1, 1 << 20).numbers) == [0]
    queue.release(first.customers)
    assert list(queue.take(2, 1 << 20).numbers) == [4, 5]
    assert list(queue.take(2, 1 << 20).numbers) == [2]


def test_another_customer_s_release_leaves_the_leader_on_the_way() -> None:
    """While he is, the next one with a whole batch waits for his turn by age."""
    queue = PerCustomer(2)
    queue.extend([delivery(each, n) for n, each in enumerate("abbccd")])
    leader = queue.take(2, 1 << 20)
    assert list(leader.numbers) == [1, 2]
    oldest = queue.take(1, 1 << 20)
    assert list(oldest.numbers) == [0]
    queue.extend([delivery(each, n) for n, each in enumerate("aaa", 6)])
    queue.release(oldest.customers)
    assert list(queue.take(1, 1 << 20).numbers) == [3], "the oldest"
    queue.release(leader.customers)
    assert list(queue.take(2, 1 << 20).numbers) == [6, 7], "the next leader"


class Model:
    """The naive queue: a list, searched from its beginning."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Delivery]] = []
        self.busy: set[str | None] = set()
        self.leader: str | None = None
        self.arrived = 0

    def free(self) -> list[tuple[int, Delivery]]:
        """What could be taken."""
        return [each for each in self.waiting if each[1].customer not in self.busy]

    def first(self) -> tuple[int, Delivery]:
        """What ``PerCustomer`` takes first: the oldest event, or that of one who has a whole batch
        waiting."""
        free = self.free()
        counts = Counter(each[1].customer for each in free)
        long = [each for each in free if counts[each[1].customer] >= WHOLE]
        if not long or self.leader is not None:
            return free[0]
        self.leader = long[0][1].customer
        return long[0]

    def check(self, queue: Queue) -> None:
        """All counts agree, and what waits does."""
        free = self.free()
        assert queue.oldest() == ((free[0][1].at, free[0][0]) if free else None)
        assert queue.ready == len(free)
        assert queue.ready_bytes == sum(size(each.encoded) + 1 for _, each in free)
        if not isinstance(queue, Fifo):
            assert queue.entries() == self.waiting
            mine = [each for each in self.waiting if each[1].customer in ("a", "b")]
            assert queue.entries({"a", "b"}) == mine


@forms
@given(
    steps=st.lists(
        st.one_of(
            st.lists(st.tuples(st.sampled_from("abc"), st.integers(2, 40)), max_size=5),
            st.tuples(st.integers(1, 6), st.integers(1, 120)),
            st.sampled_from(["release", "clear", "hold", "drop", "substitute", "oldest", "check"]),
        ),
        max_size=40,
    )
)
def test_queues_agree_with_a_naive_model(make: Callable[[], Queue], steps: list[Step]) -> None:
    """However events come and go: order is kept (per customer), nothing is lost or doubled, takes
    stay in their bounds and are as large as they can be, and all counts agree, however seldom one
    asks for them."""
    queue = make()
    model = Model()
    out: list[set[str]] = []
    for step in steps:
        free = model.free()
        if isinstance(step, list):
            events = [
                delivery(customer, model.arrived + n, length)
                for n, (customer, length) in enumerate(step)
            ]
            length = queue.extend(events)
            assert length == sum(size(each.encoded) for each in events)
            model.waiting += enumerate(events, model.arrived)
            model.arrived += len(events)
        elif isinstance(step, tuple):
            count, budget = step
            taken = queue.take(count, budget)
            total = sum(size(each.encoded) + 1 for each in taken.deliveries)
            assert len(taken.deliveries) <= count
            assert total <= budget or len(taken.deliveries) == 1
            assert bool(taken.deliveries) is bool(free)
            entries = list(zip(taken.numbers, taken.deliveries, strict=True))
            assert all(entry in free for entry in entries)
            if isinstance(queue, PerCustomer):
                assert not free or entries[0] == model.first()
            else:
                assert entries == free[: len(entries)]
                if len(entries) < min(count, len(free)):
                    assert total + size(free[len(entries)][1].encoded) + 1 > budget
            for customer in {entry[1].customer for entry in entries}:
                mine = [entry for entry in free if entry[1].customer == customer]
                ours = [entry for entry in entries if entry[1].customer == customer]
                assert ours == mine[: len(ours)]
            model.waiting = [entry for entry in model.waiting if entry not in entries]
            if not isinstance(queue, Fifo):
                assert set(taken.customers) == {each.customer for each in taken.deliveries}
                model.busy |= set(taken.customers)
                out.append(set(taken.customers))
        elif step == "release" and out:
            gone = out.pop(0)
            queue.release(gone)
            model.busy -= gone
            if model.leader in gone:
                model.leader = None
        elif step == "clear":
            cleared = queue.clear()
            assert list(zip(cleared.numbers, cleared.deliveries, strict=True)) == model.waiting
            model.waiting = []
            model.check(queue)
        elif step == "oldest":
            assert queue.oldest() == ((free[0][1].at, free[0][0]) if free else None)
        elif step == "check":
            model.check(queue)
        elif not isinstance(queue, Fifo):
            if step == "hold":
                assert queue.hold({"c"}) is ("c" not in model.busy)
                if "c" not in model.busy:
                    model.busy.add("c")
                    out.append({"c"})
            elif step == "substitute":
                others = {n: delivery("", n, size(each.encoded)) for n, each in model.waiting[::2]}
                for n, each in model.waiting[::2]:
                    others[n].customer = each.customer
                queue.substitute(others)
                model.waiting = [(n, others.get(n, each)) for n, each in model.waiting]
            elif step == "drop" and out:
                dropped = queue.drop(out[0])
                entries = list(zip(dropped.numbers, dropped.deliveries, strict=True))
                assert entries == [each for each in model.waiting if each[1].customer in out[0]]
                model.waiting = [each for each in model.waiting if each not in entries]
        assert queue.arrived == model.arrived
    model.check(queue)


@forms
def test_an_event_that_does_not_fit_keeps_its_place(make: Callable[[], Queue]) -> None:
    """No smaller one behind it is taken before it, of its customer or of another."""
    queue = make()
    queue.extend([delivery("aabb"[n], n, 100 if n == 2 else 10) for n in range(4)])
    taken = queue.take(9, 30)
    assert [each.at for each in taken.deliveries] == [0.0, 1.0]
    queue.release(taken.customers)
    assert [each.at for each in queue.take(9, 120).deliveries] == [2.0, 3.0]
    queue = make()
    queue.extend([delivery("a", n, 100 if n == 1 else 10) for n in range(3)])
    assert [each.at for each in queue.take(9, 30).deliveries] == [0.0]


def test_the_size_of_what_a_batch_has_left_of_a_customer_is_known() -> None:
    """Whoever else is in the batch."""
    queue = PerCustomer(9)
    queue.extend([delivery(each, n) for n, each in enumerate("abbb")])
    taken = queue.take(2, 1 << 20)
    assert list(taken.numbers) == [0, 1]
    queue.release(taken.customers)
    assert (queue.ready, queue.ready_bytes) == (2, 22)


def test_a_queue_that_was_cleared_is_empty() -> None:
    """Whatever had been passed over, and had come back."""
    queue = InOrder()
    queue.extend([delivery(each, n) for n, each in enumerate("aabab")])
    taken = queue.take(1, 1 << 20)
    assert queue.ready == 2
    queue.release(taken.customers)
    assert queue.take(1, 1 << 20).customers == {"a"}
    assert list(queue.clear().numbers) == [2, 3, 4]
    queue.release(["a"])
    assert (queue.ready, queue.ready_bytes, queue.entries()) == (0, 0, [])
