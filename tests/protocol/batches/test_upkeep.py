"""The warnings of a store's state (``docs/reference/guarantees.md#damage`` and those beside it)."""

from __future__ import annotations

import pytest

from masivo._protocol.batches import backlog
from masivo._protocol.batches.adoption import SCAN
from protocol.live import LiveDriver, LiveLog
from protocol.requests import numbers
from protocol.simulator import event, result_of
from protocol.spooled import SpoolDriver


@pytest.mark.parametrize(
    ("damaged", "said"), [(1, "spool: 1 part could not"), (2, "spool: 2 parts could not")]
)
def test_damaged_parts_are_counted(damaged: int, said: str) -> None:
    """In one warning for those that were found together."""
    first = SpoolDriver()
    first.send_numbers(*range(8))
    (name,) = first.files(".log")
    data = first.disk.files[name].data
    for n in (2, 5)[:damaged]:
        data[data.index(b'"n":%d' % n)] ^= 255
    first.process.kill()
    driver = SpoolDriver(first.disk, at=first.now)
    driver.buffer.use()
    driver.poll()
    assert [line[: len(said)] for line in driver.warnings] == [said]


def test_warnings_name_the_directory() -> None:
    """As it was given to the client."""
    first = SpoolDriver(spool="/spool")
    first.send_numbers(1, 2)
    first.disk.files.clear()
    first.advance(SCAN)
    assert first.warnings[-1].startswith("spool /spool: the files of this client were deleted")
    first.buffer.destroy()
    first.poll()
    assert first.warnings[-1].startswith("2 events of this client stay in the spool /spool: ")
    second = SpoolDriver()
    second.send_numbers(1)
    second.buffer.destroy()
    second.poll()
    assert second.warnings[-1].startswith(
        "1 event of this client stays in the spool its directory: "
    )


@pytest.mark.parametrize("to_the_end", [True, False])
def test_a_client_that_is_silent_to_the_end_does_not_count_what_it_leaves(to_the_end: bool) -> None:
    """Its caller does; one that is silent about failures alone counts it."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    driver.buffer.silence(to_the_end=to_the_end)
    driver.buffer.destroy()
    driver.poll()
    assert bool(driver.warnings) is not to_the_end


@pytest.mark.parametrize(
    ("logs", "said"),
    [(1, "spool: 1 log is of another key"), (2, "spool: 2 logs are of another key")],
)
def test_logs_of_other_keys_are_counted_once(logs: int, said: str) -> None:
    """Not again at the next looks, while there are no more."""
    driver = SpoolDriver()
    for number in range(logs):
        other = SpoolDriver(driver.disk, key=f"another-key-0123456789-{number}")
        other.send_numbers(1)
        other.process.kill()
    driver.buffer.use()
    driver.sign_in()
    driver.sleep_until(driver.now + 100.0)
    assert [line[: len(said)] for line in driver.warnings] == [said]
    assert driver.warnings[0].endswith("how to send it: masivo spool DIR")


@pytest.mark.parametrize(
    ("events", "size", "said"),
    [
        (0, 0, []),
        (1, 0, ["1 event of this client stays in the spool", "sends it"]),
        (2, 0, ["2 events of this client stay in the spool", "sends them"]),
        (70, 20_000, ["events of this client stay in the spool", "sends them"]),
    ],
)
def test_a_release_counts_what_it_leaves(
    events: int, size: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless there is so much that counting would take long."""
    monkeypatch.setattr(backlog, "COUNTED", 1_000_000)
    driver = SpoolDriver(max_queue=10)
    driver.buffer.use()
    driver.send(*(event(n, text="x" * size) for n in range(events)))
    driver.buffer.destroy()
    driver.poll()
    told = [line for line in driver.warnings if "the next client" in line]
    assert len(told) == bool(said)
    assert all(line.startswith(said[0]) and line.endswith(said[1]) for line in told)


def test_a_slow_disk_is_not_tended_again_before_it_was_tended() -> None:
    """However often the store is due meanwhile: other work would have to wait."""
    driver = LiveDriver(LiveLog())
    driver.sign_in()
    driver.log.due = True
    driver.held = True
    for _ in range(40):
        driver.advance(1.0)
    driver.work()
    driver.work()
    assert driver.log.tended <= 2


def test_a_store_is_tended_at_the_scan_and_as_soon_as_room_was_made() -> None:
    """To the moment; a removal makes room for what could not be written."""
    driver = LiveDriver(LiveLog(), batch_size=1)
    driver.sign_in()
    began = driver.now
    driver.advance(SCAN - 0.01)
    assert driver.log.tended == 0
    driver.advance(began + SCAN - driver.now)
    assert driver.log.tended == 1
    driver.log.due = True
    driver.advance(2.0)
    driver.put(1)
    driver.look()
    tended = driver.log.tended
    driver.accept()
    driver.poll()
    assert driver.log.tended == tended + 1


def test_a_store_is_tended_though_memory_is_full_and_the_api_away() -> None:
    """The engine wakes for it, though it reads nothing then and looks for no logs."""
    driver = SpoolDriver(max_queue=2, batch_size=1)
    driver.send_numbers(*range(10))
    driver.sign_in()
    driver.respond(503, headers={"Retry-After": "300"})
    tended = driver.spool.tended
    began = driver.now
    while driver.now < began + 250.0:
        driver.sleep()
    assert driver.spool.tended - tended >= 250 // SCAN


def test_events_that_could_not_be_stored_again_stay_in_memory() -> None:
    """The work was interrupted, or the store failed in an unexpected way."""
    driver = SpoolDriver()
    (delivery,) = driver.send_numbers(1)
    driver.disk.files.clear()
    driver.held = True
    driver.advance(SCAN)
    driver.work()
    (work,) = driver.works
    driver.works, driver.held = [], False
    driver.engine.hand_back(work.id, work.interrupted)
    driver.sign_in()
    driver.flush()
    driver.accept()
    assert result_of(delivery).success


def test_events_that_could_not_be_stored_again_are_told_apart() -> None:
    """At the next loss each is stored, and removed when it is delivered."""
    driver = SpoolDriver()
    driver.send_numbers(1, 2)
    driver.disk.files.clear()
    driver.held = True
    driver.advance(SCAN)
    driver.work()
    driver.disk.full = True
    driver.held = False
    driver.work()
    assert driver.outbox.backlog.own.held == set()
    driver.disk.full = False
    driver.send_numbers(3)
    driver.disk.files.clear()
    driver.advance(SCAN)
    assert len(driver.outbox.backlog.own.held) == 3
    driver.sign_in()
    driver.flush()
    driver.accept()
    driver.close()
    assert driver.buffer.stats().delivered == 3
    assert driver.files() == []


def test_adopted_events_are_not_stored_in_the_client_s_own_log() -> None:
    """Where that was lost: they are in their own."""
    first = SpoolDriver()
    first.send_numbers(1)
    first.process.kill()
    (name,) = first.files(".log")
    driver = SpoolDriver(first.disk, at=first.now)
    driver.sign_in()
    driver.buffer.use()
    driver.poll()
    assert numbers(driver.batch()) == [1]
    driver.send_numbers(2)
    for other in driver.files():
        if other.split(".")[0] != name.split(".")[0]:
            del driver.disk.files[other]
    driver.advance(SCAN)
    assert any("its events in memory (1)" in line for line in driver.warnings)
