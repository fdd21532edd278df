"""``kill -9`` at random moments: what a call returned for is there, and what was removed is not."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest

from .programs import start
from .reading import empty, listing

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 8
MANY = 200

PROGRAM = """
# It tells of each event before the append, after it, and after its removal.
spool = make(segment=20_000)
out = os.dup(1)
signal.signal(signal.SIGALRM, lambda *_: send(b"s"))
numbers = iter(range(10**9))

def send(who):
    event = b"%s-%d-%d" % (who, os.getpid(), next(numbers))
    os.write(out, b"try %s\\n" % event)
    position = spool.append(event + b"x" * 300, 1.0, True)
    os.write(out, b"told %s\\n" % event)

def sender(who):
    while True:
        send(who)

def poll():
    adopted = []
    for log in spool.adopt():
        adopted.append(log)
    while True:
        spool.tend()
        for log in (*adopted, spool.own):
            if log is None:
                continue
            window = log.read(None, 50, EVERYTHING)
            batch = window.events[:len(window.events) // 2]
            if not batch:
                continue
            names = [each.event.rstrip(b"x") for each in batch]
            positions = [each.position for each in batch]
            log.note(Note(positions, names[0].decode(), b""))
            os.write(out, b"".join(b"ending %s\\n" % name for name in names))
            log.remove(positions)
            os.write(out, b"".join(b"ended %s\\n" % name for name in names))

for n in range(3):
    threading.Thread(target=sender, args=(b"t%d" % n,), daemon=True).start()
threading.Thread(target=poll, daemon=True).start()
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.002)
while True:
    send(b"m")
"""


@pytest.mark.parametrize("kills", [KILLS, pytest.param(MANY, marks=pytest.mark.full)])
def test_a_killed_process_loses_nothing_that_it_was_told(folder: Path, kills: int) -> None:
    """Threads and a signal handler append, another thread removes and adopts what the former
    process has left; then it is killed."""
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    seen: dict[bytes, set[bytes]] = {word: set() for word in (b"try", b"told", b"ending", b"ended")}
    torn = 0
    for _ in range(kills):
        process = start(folder, PROGRAM)
        lines = [process.stdout.readline()]
        killer = threading.Timer(moments.uniform(0, 0.1), process.kill)
        killer.start()
        out, _ = process.communicate()
        killer.join()
        lines += out.splitlines(keepends=True)
        for line in lines:
            word, _, name = line.partition(b" ")
            if name.endswith(b"\n"):
                seen[word].add(name[:-1])
    left, torn = empty(folder)
    names = [event.rstrip(b"x") for event in left]
    print(f"seed {seed}: {len(seen[b'told'])} told, {len(names)} left, {torn} torn")
    assert len(names) == len(set(names))
    there = set(names)
    assert seen[b"told"] - there - seen[b"ending"] == set()
    assert there & seen[b"ended"] == set()
    assert there <= seen[b"try"]
    assert len(seen[b"told"]) > 20 * kills
    assert torn <= kills
    assert all(name.endswith(".bad") for name in listing(folder))
