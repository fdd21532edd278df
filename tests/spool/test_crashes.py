"""Crashes at every step, power failures and full disks, over a disk in memory.

A small stand-in for the core sends what is stored: it notes batches, removes them, reads what it
does not hold, adopts. A seed decides everything; a test that fails names it.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from masivo.protocol import Note, StoredLog, StoreError
from masivo.spool import Spool

from .memory import Killed, Machine, Process

SEEDS = int(os.environ.get("MASIVO_SEEDS", "160"))


class World:
    """What was accepted, and what was ended, over all processes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = Machine()
        self.accepted: list[bytes] = []
        self.doubtful: set[bytes] = set()
        """Events whose call did not return: they may be there or not."""
        self.ended: set[bytes] = set()
        """Events that were removed, and whose removal returned while the disk had room."""
        self.ending: set[bytes] = set()
        """Events whose removal did not return, or is not written."""
        self.noted: dict[bytes, str | None] = {}
        """The key of the last note of an event."""
        self.doubtful_notes: set[bytes] = set()
        self.powerless = False
        self.count = 0

    def run(self) -> None:
        """Let processes come and go, and look at what is left."""
        for _ in range(self.random.randint(1, 6)):
            others = [self.start() for _ in range(self.random.randint(1, 3))]
            for _ in range(self.random.randint(0, 12)):
                self.machine.full = self.random.random() < 0.15
                live = [each for each in others if not each.process.killed]
                if not live:
                    break
                self.random.choice(live).act()
            self.machine.full = False
            for each in others:
                each.end()
            if self.random.random() < 0.2:
                self.powerless = True
                self.machine.fail(self.random)
        self.check()

    def start(self) -> Client:
        """Start a process, which may be killed soon."""
        kill_after = self.random.choice([None, self.random.randint(1, 120)])
        late = self.random.random() < 0.5
        return Client(self, Process(self.machine, kill_after, late=late))

    def check(self) -> None:
        """Adopt everything that is left: nothing is lost, what was ended is gone, in order."""
        spool = make(Process(self.machine))
        found: list[bytes] = []
        for log in spool.adopt():
            events = read_all(log)
            found += events
            numbers = [int(event) for event in events]
            assert numbers == sorted(numbers), "the order of a log"
            for noted in log.noted():
                for stored in noted.events:
                    key = self.noted[stored.event]
                    doubtful = self.powerless or stored.event in self.doubtful_notes
                    assert doubtful or noted.note.key == key
            log.remove([each.position for each in log.read(None, 10**9, 10**9).events])
            log.release()
        assert not [event for event, count in Counter(found).items() if count > 1], "twice"
        if not self.powerless:
            missing = set(self.accepted) - set(found) - self.ended - self.ending
            assert not missing, "lost"
            back = set(found) & self.ended
            assert not back, "came back"
            assert set(found) <= set(self.accepted) | self.doubtful
            assert [name for name in self.machine.files if not name.endswith(".bad")] == []


class Client:
    """One process's stand-in for the core."""

    def __init__(self, world: World, process: Process) -> None:
        self.world = world
        self.process = process
        self.spool = make(process)
        self.held: dict[int, bytes] = {}
        """What is in memory of the own log, by position."""
        self.logs: list[StoredLog] = []
        """Adopted logs."""
        self.late: dict[StoredLog, set[bytes]] = {}
        """Removed events whose removal may have to wait for room."""

    def act(self) -> None:
        """Do something, or die."""
        act = self.world.random.choice(
            [
                *(self.append, self.append, self.append),
                *(self.send, self.read, self.tend, self.adopt, self.go_on),
            ]
        )
        try:
            act()
        except Killed:
            assert self.process.killed

    def end(self) -> None:
        """End the process, well or not."""
        if not self.process.killed:
            try:
                if self.world.random.random() < 0.5:
                    self.spool.release()
            except Killed:
                pass
            self.process.kill()

    def append(self) -> None:
        for _ in range(self.world.random.randint(1, 40)):
            self.world.count += 1
            event = b"%06d" % self.world.count
            self.world.doubtful.add(event)
            try:
                position = self.spool.append(event, 1.0, True)
            except StoreError:
                self.world.doubtful.discard(event)
                continue
            self.world.doubtful.discard(event)
            self.world.accepted.append(event)
            self.held[position] = event

    def send(self) -> None:
        own = self.spool.own
        if own is None or not self.held:
            return
        batch = list(self.held)[: self.world.random.randint(1, 30)]
        if self.world.random.random() < 0.3:
            batch = self.world.random.sample(list(self.held), len(batch))
        self.deliver(own, batch, self.held)

    def deliver(self, log: StoredLog, batch: list[int], events: dict[int, bytes]) -> None:
        bodies = [events[position] for position in batch]
        key = f"key-{self.world.random.random()}"
        before = {body: self.world.noted.get(body) for body in bodies}
        doubtful = self.world.doubtful_notes.intersection(bodies)
        self.world.doubtful_notes.update(bodies)
        self.world.noted.update(dict.fromkeys(bodies, key))
        try:
            log.note(Note(batch, key, b"stamps"))
        except StoreError:
            self.world.noted.update(before)
        else:
            doubtful.clear()
        self.world.doubtful_notes.difference_update(set(bodies) - doubtful)
        if self.world.random.random() < 0.3:
            return
        self.world.ending.update(bodies)
        self.late.setdefault(log, set()).update(bodies)
        for position in batch:
            events.pop(position)
        log.remove(batch)
        self.written(log)

    def written(self, log: StoredLog) -> None:
        """The disk has had room to write all removals of a log."""
        if not self.world.machine.full:
            bodies = self.late.pop(log, set())
            self.world.ending.difference_update(bodies)
            self.world.ended.update(bodies)

    def read(self) -> None:
        """What is on disk and what is in memory is the same, for a log of one's own."""
        if self.spool.own is not None:
            events = read_all(self.spool.own, self.world.random.randint(1, 50))
            assert [e for e in events if e not in self.world.doubtful] == list(self.held.values())

    def adopt(self) -> None:
        for log in self.spool.adopt():
            self.logs.append(log)
            for noted in log.noted():
                if self.world.random.random() < 0.5:
                    events = {each.position: each.event for each in noted.events}
                    self.deliver(log, noted.note.positions, events)
            self.read_on(log)

    def go_on(self) -> None:
        if self.logs:
            self.read_on(self.world.random.choice(self.logs))

    def read_on(self, log: StoredLog) -> None:
        window = log.read(None, self.world.random.randint(1, 60), 10**9)
        if window.events and self.world.random.random() < 0.8:
            events = {each.position: each.event for each in window.events}
            self.deliver(log, list(events), events)
        if self.world.random.random() < 0.2:
            log.release()
            self.written(log)
            self.late.pop(log, None)  # what it could not write now it never will
            self.logs.remove(log)

    def tend(self) -> None:
        assert self.spool.tend()
        for log in list(self.late):
            self.written(log)


def make(process: Process) -> Spool:
    """A spool with segments of a few dozen events."""
    return Spool(process, "key", "https://example.test", 1 << 30, segment=1_000)


def read_all(log: StoredLog, window: int = 50) -> list[bytes]:
    """All that a log holds, read in windows."""
    events: list[bytes] = []
    after = None
    while True:
        part = log.read(after, window, 10**9)
        events += [each.event for each in part.events]
        after = part.after
        if part.end:
            return events


@pytest.mark.scaled
@pytest.mark.parametrize("part", range(4))
def test_nothing_is_lost_or_comes_back_whenever_a_process_is_killed(part: int) -> None:
    """An event that was accepted is there until it is removed, once and in order; a removed one
    does not come back; a batch keeps the key of its last note. A power failure may break all this
    but: no event twice."""
    for seed in range(part * SEEDS // 4, (part + 1) * SEEDS // 4):
        try:
            World(seed).run()
        except BaseException:
            print(f"seed {seed}")
            raise
