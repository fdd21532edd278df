"""A storm of faults over real sockets: whatever the server does, every event is accounted for."""

from __future__ import annotations

import os
import random
import traceback
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from masivo import MasivoError

from .faults import Storm
from .worlds import WORLDS, Job, Result

if TYPE_CHECKING:
    from masivo import FailedEvent
    from masivo.emulator import Emulator, RecordedRequest

TIMEOUT = 0.8
"""Seconds for one request."""
LIMIT = 120.0
"""Seconds for a whole storm."""
SEED = os.environ.get("CHAOS_SEED")
EVENTS = int(os.environ.get("CHAOS_EVENTS", "10000"))

pytestmark = [
    pytest.mark.usefixtures("hasty"),
    # The library's own generator of a request's body, see test_fuzz_wire.py.
    pytest.mark.filterwarnings("ignore:Async generator 'httpx._content.ByteStream:ResourceWarning"),
]


def event(dice: random.Random, client: str, n: int) -> dict[str, object]:
    """An event that can be told from all others; one in a hundred is big."""
    made: dict[str, object] = {
        "type": "VIEW",
        "customer_id": f"{client}-{dice.randrange(30)}",
        "brand_id": None,
        "metadata": {"client": client, "n": n},
    }
    if dice.random() < 0.01:
        made["big"] = "x" * 40_000
    return made


def name(accepted: Any) -> tuple[str, int]:
    """What an event can be told by."""
    return accepted["metadata"]["client"], accepted["metadata"]["n"]


@dataclass(slots=True)
class Witness:
    """What a client's ``on_error`` saw."""

    failed: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    errors: list[MasivoError] = field(default_factory=list[MasivoError])

    def __call__(self, failure: FailedEvent) -> None:
        """Take note of a failed event."""
        self.failed.append(name(failure.event))
        self.errors.append(failure.error)


def storm(
    world: str, seed: int, count: int, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Send ``count`` events through a storm, and check what became of each."""
    dice = random.Random(seed)
    emulator.on_request = Storm(seed, TIMEOUT, [emulator.client_key])
    witnesses = {"one": Witness(), "four": Witness()}
    loads: list[tuple[dict[str, Any], list[dict[str, object]]]] = []
    for client, witness in witnesses.items():
        settings: dict[str, Any] = {
            "api_key": emulator.client_key,
            "base_url": emulator.url,
            "timeout": TIMEOUT,
            "batch_size": 15,
            "max_in_flight": 1 if client == "one" else 4,
            "refresh_interval": 2.0,
            "on_error": witness,
        }
        loads.append((settings, [event(dice, client, n) for n in range(count // 2)]))
    results = WORLDS[world](Job(loads, LIMIT, calm=emulator.heal))
    accepted = Counter(name(each) for each in emulator.events)
    for (client, witness), result in zip(witnesses.items(), results, strict=True):
        check_outcomes(client, witness, result, accepted)
    check_repeats(emulator.batches)
    check_order([each for each in emulator.batches if client_of(each) == "one"])
    check_secrets(emulator, results, caplog)
    faults = sum(each.fault is not None for each in emulator.requests)
    assert faults > count / 50, "it was no storm"


def check_outcomes(
    client: str, witness: Witness, result: Result, accepted: Counter[tuple[str, int]]
) -> None:
    """Each event has exactly one outcome; delivered only if the server accepted it."""
    delivered = failed = 0
    for n, delivery in enumerate(result.deliveries):
        assert delivery.done()
        if "success=True" in repr(delivery):
            delivered += 1
            assert accepted[client, n], f"{client} {n} was never accepted"
        else:
            failed += 1
            assert (client, n) in witness.failed
    assert len(witness.failed) == len(set(witness.failed)) == failed
    assert result.flushed is not None
    assert (result.flushed.delivered, result.flushed.failed) == (delivered, failed)
    assert result.after is not None
    assert (result.after.delivered, result.after.failed) == (1, 0), "it does not work any more"
    stats = result.stats
    assert stats is not None
    assert stats.accepted == len(result.deliveries) + 1
    assert (stats.delivered, stats.failed) == (delivered + 1, failed)
    assert (stats.queued, stats.in_flight, stats.overflowed) == (0, 0, 0)
    assert delivered * 5 > failed, "the storm was too strong to show anything"


def client_of(record: RecordedRequest) -> str | None:
    """The client that sent a batch; None for one that did not arrive whole."""
    return name(record.events[0])[0] if record.events else None


def check_repeats(batches: list[RecordedRequest]) -> None:
    """No batch is sent again after an answer that was whole, or a success that had begun."""
    tries: dict[str, list[RecordedRequest]] = defaultdict(list)
    for record in batches:
        tries[record.headers["idempotency-key"]].append(record)
    for same in tries.values():
        assert len({each.body for each in same if each.events}) <= 1, "a repeat must be the same"
        for before, after in pairwise(same):
            assert before.fault is not None, "it was answered, and sent again"
            shape = before.fault
            begun = before.accepted and before.status is not None and before.status < 300
            whole_head = shape.raw is None and shape.truncate_headers is None and not shape.drip
            if begun and whole_head and not shape.delay:
                # A client that did not see the head in time may repeat, but not sooner.
                assert after.received_at - before.received_at > TIMEOUT * 0.9, shape


def check_order(batches: list[RecordedRequest]) -> None:
    """With one batch in flight, order is kept on the wire, across repeats and halves."""
    first = 0
    for record in batches:
        numbers = [name(each)[1] for each in record.events or []]
        assert numbers == sorted(numbers)
        assert numbers[0] >= first
        first = max(first, numbers[0])


def check_secrets(
    emulator: Emulator, results: list[Result], caplog: pytest.LogCaptureFixture
) -> None:
    """No error and no log record of ours shows the key or a token."""
    secrets = {emulator.client_key}
    for record in emulator.batches:
        secrets.add(record.headers["authorization"].removeprefix("Bearer "))
    texts = [each.getMessage() for each in caplog.records if each.name.startswith("masivo")]
    for result in results:
        seen: set[str] = set()
        for delivery in result.deliveries:
            text = repr(delivery)
            outcome = delivery.claim()
            error = getattr(outcome, "error", None)
            if isinstance(error, MasivoError) and text not in seen:
                seen.add(text)
                texts += [text, repr(error.details), *traceback.format_exception(error)]
    for text in texts:
        for secret in secrets:
            assert secret not in text, text


@pytest.mark.parametrize("world", WORLDS)
def test_a_storm(world: str, emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """1,000 events through a storm: one outcome each, none delivered that was not accepted."""
    replayed(world, 1, 1000, emulator, caplog)


@pytest.mark.full
@pytest.mark.parametrize("seed", [SEED] if SEED else [2])
@pytest.mark.parametrize("world", WORLDS)
def test_a_long_storm(
    world: str, seed: str, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The same with 10,000 events (``CHAOS_EVENTS``) and another seed (``CHAOS_SEED``)."""
    replayed(world, int(seed), EVENTS, emulator, caplog)


def replayed(
    world: str, seed: int, count: int, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Run a storm; a failure says how to see it again."""
    try:
        storm(world, seed, count, emulator, caplog)
    except BaseException as error:
        error.add_note(
            f"replay: CHAOS_SEED={seed} CHAOS_EVENTS={count} "
            f"python -m pytest -m full tests/chaos/test_storm.py -k 'long and {world}'"
        )
        raise
