"""The ledger, the state and the file of rejected events: whatever happens, every record counts
once."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from masivo import MasivoError, MasivoNetworkError
from masivo.cli.importing.ledger import Ledger
from masivo.cli.importing.records import Record, Shape
from masivo.cli.importing.rejects import Rejects
from masivo.cli.importing.state import State, StateFile
from masivo.protocol import Failed, SendEventResult

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.protocol import Delivery

REFUSED = MasivoError("bad", status=422)
LOST = MasivoNetworkError("gone")


class KilledError(Exception):
    """The process has been killed."""


@dataclass(slots=True)
class Sent:
    """A delivery."""

    end: int
    outcome: SendEventResult | Failed | None = None

    def claim(self) -> SendEventResult | Failed | None:
        """Return the outcome, as a delivery does."""
        return self.outcome


@dataclass(slots=True)
class World:
    """A file, a server, and an import that is killed again and again."""

    seed: int
    folder: Path
    random: Random = field(init=False)
    in_order: bool = field(init=False)
    records: list[Record] = field(init=False)
    bad: set[int] = field(init=False)
    rejected: set[int] = field(init=False)
    accepted: Counter[int] = field(default_factory=Counter[int])
    unrecorded: set[int] = field(default_factory=set[int])
    """Events with an outcome when the process was killed, perhaps not saved."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.in_order = self.random.random() < 0.5
        end, self.records = 0, []
        for _ in range(self.random.randint(1, 80)):
            line = end + self.random.choice((1, 1, 1, 2, 5))
            end = line + self.random.choice((0, 0, 2))
            self.records.append(Record(line, end, crc=end * 7, size=1, event={"end": end}))
        ends = [record.end for record in self.records]
        self.bad = {end for end in ends if self.random.random() < 0.2}
        self.rejected = {end for end in ends if self.random.random() < 0.1} - self.bad

    def run(self) -> bool:
        """One run of the import; whether it came to its end. Raises KilledError."""
        file = Mortal(self)
        state = file.load() or State("url", Shape("jsonl"), "r")
        rejects = Rejects(self.folder / "rejected")
        rejects.resume(state.rejected_size, state.covers)
        ledger = Ledger(state, file, rejects, in_order=self.in_order)
        waiting: list[Sent] = []
        for each in self.records:
            record = Record(each.line, each.end, each.crc, each.size, event=each.event)
            if state.covers(record.end):
                ledger.skipped(record)
            elif record.end in self.bad:
                ledger.rejected(record, "bad")
            else:
                waiting.append(Sent(record.end))
                ledger.sent(record, cast("Delivery", waiting[-1]))
            while waiting and (len(waiting) > 8 or self.random.random() < 0.3):
                self.respond(waiting)
                if self.random.random() < 0.5:
                    ledger.settle()
            if ledger.failure is not None and self.random.random() < 0.5:
                break
        while waiting:
            self.respond(waiting)
        ledger.settle()
        rejects.close()
        if ledger.undone() or len(self.records) == 0 or not state.covers(self.records[-1].end):
            return False
        ledger.complete(self.records[-1].end, self.records[-1].crc)
        return True

    def respond(self, waiting: list[Sent]) -> None:
        """The server responds to one of them, or the network fails."""
        sent = waiting.pop(0 if self.in_order else self.random.randrange(len(waiting)))
        if self.random.random() < 0.05:
            sent.outcome = Failed(LOST, 1, None)
        elif sent.end in self.rejected:
            sent.outcome = Failed(REFUSED, 1, None)
        else:
            self.accepted[sent.end] += 1
            self.unrecorded.add(sent.end)
            sent.outcome = SendEventResult(success=True, status=200)


class Mortal(StateFile):
    """A state file; now and then the process is killed before, or after, it is replaced."""

    def __init__(self, world: World) -> None:
        super().__init__(world.folder / "state")
        self._world = world

    def save(self, state: State, *, safe: bool = False) -> None:
        """As the state file's."""
        dice = self._world.random.random()
        if dice < 0.05:
            raise KilledError
        super().save(state, safe=safe)
        self._world.unrecorded = {end for end in self._world.unrecorded if not state.covers(end)}
        if dice > 0.95:
            raise KilledError


@pytest.mark.parametrize("seed", range(30))
def test_every_record_counts_once(seed: int, tmp_path: Path) -> None:
    """Over any number of runs, killed at any time, with failures of the network and rejected
    events: each record is delivered or rejected, is counted once, and is sent again only if its
    outcome had not been saved."""
    world = World(seed, tmp_path)
    resent = set[int]()
    for _ in range(10_000):
        try:
            if world.run():
                break
        except KilledError:
            pass
        resent |= world.unrecorded
        world.unrecorded = set()
    state = StateFile(tmp_path / "state").load()
    assert state is not None
    assert state.finished
    ends = {record.end for record in world.records}
    good = ends - world.bad - world.rejected
    assert set(world.accepted) == good
    assert {end for end, count in world.accepted.items() if count > 1} <= resent
    written: list[Any] = []
    if (tmp_path / "rejected").exists():
        lines = (tmp_path / "rejected").read_bytes().splitlines()
        written = [msgspec.json.decode(line)["event"]["end"] for line in lines]
    assert sorted(written) == sorted(ends - good)
    assert (state.delivered, state.rejected) == (len(good), len(ends - good))


def test_the_end_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last state is synced before it replaces the one before it, so that a failure of the
    machine leaves a whole one; after each batch that would take too long."""
    synced: list[tuple[bytes, bytes]] = []

    def note(_number: int) -> None:
        synced.append((file.path.read_bytes(), (tmp_path / "state.next").read_bytes()))

    monkeypatch.setattr(os, "fsync", note)
    file, state = StateFile(tmp_path / "state"), State("url", Shape("jsonl"), "r")
    file.save(state)
    assert synced == []
    before = file.path.read_bytes()
    state.finished = True
    file.save(state, safe=True)
    assert synced == [(before, file.path.read_bytes())]


def test_a_state_is_small(tmp_path: Path) -> None:
    """Lines that are done beyond one that is not are saved as ranges."""
    state = State("url", Shape("jsonl"), "r")
    ledger = Ledger(state, StateFile(tmp_path / "state"), Rejects(tmp_path / "r"), in_order=False)
    sent = [Sent(n) for n in range(1, 1001)]
    for each in sent:
        record = Record(each.end, each.end, 0, 1)
        ledger.sent(record, cast("Delivery", each))
        if each.end not in (1, 500):
            each.outcome = SendEventResult(success=True, status=200)
    ledger.settle()
    assert (state.lines, state.beyond, state.high) == (0, [(2, 499), (501, 1000)], 1000)
    sent[0].outcome = SendEventResult(success=True, status=200)
    ledger.settle()
    assert (state.lines, state.beyond, ledger.kept) == (499, [(501, 1000)], 501)


def test_a_rejected_event_is_kept_in_the_file_alone(tmp_path: Path) -> None:
    """A record takes no more memory once its event was written; the file is closed at the end."""

    def lowest() -> int:
        os.close(number := os.dup(0))
        return number

    before = lowest()
    ledger = Ledger(State("url", Shape("jsonl"), "r"), None, Rejects(tmp_path / "r"), in_order=True)
    record = Record(1, 1, 0, 1, event={"type": "X"}, rest={"own": 1})
    ledger.rejected(record, "bad")
    ledger.save()
    assert (record.event, record.rest) == (None, {})
    assert lowest() != before
    ledger.close()
    assert lowest() == before


def test_what_is_skipped_again_is_not_kept(tmp_path: Path) -> None:
    """A record that the state covers, and that is skipped at the start of a later run, takes no
    memory: the records before the first without an outcome may be millions."""
    state = State("url", Shape("jsonl"), "r", lines=5, high=5)
    ledger = Ledger(state, None, Rejects(tmp_path / "r"), in_order=True)
    for line in range(1, 6):
        ledger.skipped(Record(line, line, 0, 1))
    assert ledger.kept == 0


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b'{"rejected":{"line":9', False),  # torn, by a kill
        (b'{"rejected":{"line":9}}\n', False),  # not accounted for
        (b'{"rejected":{"line":1}}\n', True),
        (b'{"rejected":{"line":9, and a note\n', True),  # edited
        (b"mine\n", True),
    ],
)
def test_only_what_the_killed_import_wrote_is_removed(
    line: bytes, left: bool, tmp_path: Path
) -> None:
    """At the start of a later run, of what is behind the part of the file of rejected events that
    the state accounts for, records that the import did not account for are removed, torn ones too;
    whole lines of others stay."""
    path = tmp_path / "r"
    path.write_bytes(b"before\n" + line)
    Rejects(path).resume(7, lambda end: end == 1)
    assert path.read_bytes() == b"before\n" + line * left
