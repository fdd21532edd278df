"""Two callers at once, or a caller and a poll: one comes between any two steps of the other
(``masivo._protocol.tally`` states the rule).

On a free-threaded interpreter a thread can be anywhere in a function while another goes through it.
Here the other is called between two bytecodes of the first, one test for each bytecode, so that the
outcome depends on no scheduler.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import masivo._protocol
from masivo._protocol.errors import MasivoError
from masivo.protocol import Delivery, Failed

from .requests import numbers
from .simulator import Driver, event
from .spooled import SpoolDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet
    from types import FrameType

T = TypeVar("T")

CORE = Path(masivo._protocol.__file__).parent
STEPPED: Final[AbstractSet[str]] = {
    str(CORE / name) for name in ("buffer.py", "delivery.py", "engine.py", "tally.py")
} | {str(CORE / "batches" / "gate.py")}
"""The files between whose bytecodes another thread comes."""


COUNTING: Final = frozenset(
    str(CORE / "batches" / name) for name in ("backlog.py", "gate.py", "own_log.py", "outbox.py")
)
"""The same for the counts of a client with a store."""


def steps(
    prepare: Callable[[], T],
    call: Callable[[T], object],
    other: Callable[[T], object],
    files: AbstractSet[str] = STEPPED,
) -> Iterator[T]:
    """Call ``call`` again and again, each time with ``other`` called before another one of its
    bytecodes; give what ``prepare`` made for it, which both get."""
    # Before the first: some Pythons count bytecodes only of code that has been traced before.
    _interrupted(partial(call, made := prepare()), partial(other, made), sys.maxsize, files)
    step = 1
    while _interrupted(partial(call, made := prepare()), partial(other, made), step, files):
        yield made
        step += 1
    assert step > 20


def _interrupted(
    call: Callable[[], object],
    other: Callable[[], object],
    at: int | None,
    files: AbstractSet[str],
) -> bool:
    """Call both, the other before a bytecode of the first (None: before each of them); return
    whether that has so many."""
    left = at or 0

    def trace(frame: FrameType, kind: str, _argument: object) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if kind == "opcode":
            left -= 1
            if left == 0 or at is None:
                other()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return left <= 0


def signed_in(**options: Any) -> Driver:
    """A driver with a token, and nothing to do."""
    driver = Driver(**options)
    driver.sign_in()
    return driver


def send(driver: Driver) -> None:
    """Send an event."""
    driver.settled.append(driver.buffer.send(event(len(driver.settled))))


def test_two_senders_at_once_are_both_counted() -> None:
    """However two calls fall together, both events count, in number and in bytes: the next one
    overflows exactly where it should."""
    length = _length()
    for options in ({"max_queue": 3}, {"max_queue_bytes": 3 * length}):
        for driver in steps(partial(signed_in, **options), send, send):
            assert driver.buffer.stats().accepted == 2
            assert not driver.buffer.send(event(2)).done()
            assert driver.buffer.send(event(3)).done()
            assert (driver.buffer.stats().accepted, driver.buffer.stats().overflowed) == (3, 1)


def test_a_sender_that_was_stopped_for_long_undoes_no_count() -> None:
    """A call that is stopped anywhere, while others fill the buffer, and polls and others empty and
    fill it once more, leaves the count as it is: the next event overflows."""

    def fill(driver: Driver) -> None:
        send(driver)
        send(driver)

    def empty_and_send(driver: Driver) -> None:
        driver.flush()
        if driver.out:
            driver.accept()
        send(driver)

    for driver in steps(partial(signed_in, max_queue=3), send, fill):
        assert driver.buffer.send(event()).done()
        assert driver.buffer.stats().queued == 3
    for driver in steps(partial(signed_in, max_queue=2), send, empty_and_send):
        more = [driver.buffer.send(event()).done() for _ in range(2)]
        assert more[1]
        assert driver.buffer.stats().queued == 2


def test_a_sender_that_was_stopped_during_a_poll_wakes_the_driver() -> None:
    """A call that is stopped anywhere, while a poll takes what came before and others send as much
    again, counts them all: where its event fills the batch, it wakes the driver."""
    woken: list[int] = []

    def two_wait() -> Driver:
        driver = signed_in(batch_size=5)
        send(driver)
        send(driver)
        return driver

    def poll_and_send(driver: Driver) -> None:
        driver.poll()
        woken[:] = [driver.wakes]
        send(driver)
        send(driver)

    for driver in steps(two_wait, send, poll_and_send):
        assert driver.wakes > woken[0]
        driver.poll()
        assert len(numbers(driver.batch())) == 5


def _length() -> int:
    """The bytes that one event counts."""
    driver = signed_in()
    driver.buffer.send(event())
    return int(driver.buffer.outbox.gate.count()[2])


def test_the_bound_is_passed_by_one_event_for_each_sender_at_once() -> None:
    """Two calls at once for the last place may both get it; the one after them does not."""
    for driver in steps(partial(signed_in, max_queue=1), send, send):
        assert driver.buffer.stats().accepted in (1, 2)
        assert driver.buffer.send(event()).done()


def test_two_senders_that_fill_a_batch_wake_the_driver() -> None:
    """However they fall together, whoever comes last wakes the driver, which finds both events:
    by their number, and by their bytes."""
    limit = len(b'{"events":[,]}') + 2 * _length()
    by_bytes = {"max_batch_bytes": limit, "max_event_bytes": limit}
    for options, sent in (({"batch_size": 3}, 3), (by_bytes, 2)):

        def prepare(chosen: dict[str, int] = options) -> Driver:
            driver = signed_in(**chosen)
            driver.send(event(9))
            driver.wakes = 0
            return driver

        for driver in steps(prepare, send, send):
            assert driver.wakes
            driver.poll()
            assert len(numbers(driver.batch())) == sent


def test_a_poll_in_the_middle_of_a_send_forgets_no_event() -> None:
    """A poll at any point of a call either finds its event, or is followed by a wake: it never
    waits for another."""
    for options in ({"batch_size": 1}, {"batch_size": 2}):

        def prepare(chosen: dict[str, int] = options) -> Driver:
            driver = signed_in(**chosen)
            if chosen["batch_size"] == 2:
                driver.send(event(9))
            driver.wakes = 0
            return driver

        for driver in steps(prepare, send, Driver.poll):
            if driver.wakes:
                driver.poll()
            driver.accept(driver.batch())
            stats = driver.buffer.stats()
            assert (stats.accepted, stats.queued) == (options["batch_size"], 0)


def test_an_idle_driver_learns_of_the_first_event_whoever_comes_between() -> None:
    """The first event after a rest makes the driver set its timer, be there another sender, too."""
    for driver in steps(signed_in, send, send):
        assert driver.wakes
        driver.poll()
        assert driver.wake_at is not None


def test_a_client_that_attaches_while_the_last_one_detaches_is_served() -> None:
    """A client may be made at any point of the poll that releases the only other one: its events
    are sent."""

    def prepare() -> Driver:
        driver = Driver()
        driver.buffer.destroy()
        return driver

    def attach(driver: Driver) -> None:
        driver.buffer = driver.attach()

    for driver in steps(prepare, lambda driver: driver.engine.poll(), attach):
        driver.send(event())
        driver.flush()
        driver.authorization()


def test_accepted_events_are_counted_once_while_a_poll_reads_them_from_the_store() -> None:
    """At each moment of a poll that reads events back, stats() counts each accepted event once: a
    metric that is made of it never decreases, which a monitor takes for a restart."""

    def before(steps: int) -> SpoolDriver:
        """A driver after so many steps, with the results of its work handed back."""
        driver = SpoolDriver(max_queue=4, batch_size=2)
        driver.sign_in()
        for _ in range(10):
            send(driver)
        driver.held = True
        driver.poll()
        for _ in range(steps):
            if driver.out:
                driver.accept()
            else:
                driver.work()
        for work in driver.works:
            driver.engine.hand_back(work.id, work.run())
        driver.works = []
        return driver

    def reads(driver: SpoolDriver) -> bool:
        on_disk = driver.buffer.stats().spooled
        driver.poll()
        return driver.buffer.stats().spooled < on_disk

    about_to_read = partial(before, next(n for n in range(20) if reads(before(n))))

    accepted: set[int] = set()

    def look(driver: SpoolDriver) -> None:
        accepted.add(driver.buffer.stats().accepted)

    driver = about_to_read()
    _interrupted(driver.poll, partial(look, driver), None, COUNTING)
    assert accepted == {10}
    for _ in steps(about_to_read, look, SpoolDriver.poll, COUNTING):
        pass
    assert accepted == {10}


def test_events_that_overflow_at_once_are_both_counted() -> None:
    """Each of them is an unclaimed failure, and counts as overflowed, whoever comes between."""

    def prepare() -> Driver:
        driver = signed_in(max_queue=1)
        driver.buffer.send(event(9))
        return driver

    for other in (send, Driver.poll):
        for driver in steps(prepare, send, other):
            overflowed = [each for each in driver.settled if isinstance(each.outcome, Failed)]
            expected = 2 if other is send else 1
            assert len(overflowed) == driver.buffer.stats().overflowed == expected
            kinds = {id(each.outcome): each.outcome for each in overflowed}
            counts = [each.unclaimed() for each in kinds.values() if isinstance(each, Failed)]
            assert sum(counts) == expected


def test_a_failure_that_two_claim_at_once_counts_as_claimed_once() -> None:
    """Two threads that claim one delivery claim one failure; of two deliveries they claim two."""

    def prepare(which: int) -> tuple[Failed, Delivery, Delivery]:
        outcome = Failed(MasivoError("no", status=400), 3)
        one, two = (Delivery(b"{}", 0.0, "", Driver().buffer, outcome) for _ in range(2))
        return outcome, one, (one, two)[which]

    for which in (0, 1):
        for outcome, one, other in steps(
            partial(prepare, which),
            lambda made: made[1].claim(),
            lambda made: made[2].claim(),
        ):
            assert outcome.claimed == 1 + which
            assert one.claim() is other.claim() is outcome
            assert outcome.claimed == 1 + which


def test_what_a_fork_has_orphaned_keeps_its_outcome_while_two_claim_it() -> None:
    """A delivery whose outcome is its client's has it at each moment of a claim."""

    def prepare() -> tuple[Failed, Delivery]:
        buffer = Driver().buffer
        buffer.orphaned = Failed(MasivoError("forked"))
        return buffer.orphaned, Delivery(b"{}", 0.0, "", buffer)

    def claim(made: tuple[Failed, Delivery]) -> None:
        assert made[1].claim() is made[0]

    for outcome, delivery in steps(prepare, claim, claim):
        assert delivery.peek() is outcome


def test_a_claim_of_a_delivery_that_is_gone_counts_for_no_other() -> None:
    """An event that overflows may get the place in memory of one that was claimed and dropped: it
    is unclaimed all the same."""
    outcome = Failed(MasivoError("no"))
    for claims in (True, False, True):
        delivery = Delivery(b"{}", 0.0, "", Driver().buffer, outcome)
        outcome.join(delivery)
        if claims:
            delivery.claim()
        del delivery
    assert (outcome.count, outcome.claimed, outcome.unclaimed()) == (3, 2, 1)
