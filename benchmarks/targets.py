"""The targets of the project, and what a run says of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from .figures import Figure, best, figure, ratio
from .plan import LOOPS, OURS, PEERS, QUEUES, STORING

if TYPE_CHECKING:
    from .runner import Results

__all__ = ["Row", "table"]

Relation: TypeAlias = Literal["<=", ">=", ""]


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    group: str
    what: str
    unit: str
    figure: Figure | None
    relation: Relation = ""
    """Empty: there is no target, the figure is told."""
    target: float = 0.0

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or no figure."""
        if self.figure is None or not self.relation:
            return None
        if self.relation == "<=":
            return self.figure.value <= self.target
        return self.figure.value >= self.target


_SHORT = {"masivo": "threads", "masivo-asyncio": "asyncio", "masivo-trio": "trio"}
_LOOP_OF = {
    "masivo": "httpx loop",
    "masivo-asyncio": "httpx loop, asyncio",
    "masivo-trio": "httpx loop, trio",
}


class _AgainstLoop(NamedTuple):
    """Targets against the bare loop over httpx of the same world."""

    rate: float
    cpu: float


_AGAINST_LOOP = {
    "masivo": _AgainstLoop(rate=0.85, cpu=1.2),
    "masivo-asyncio": _AgainstLoop(rate=1.2, cpu=0.85),
    "masivo-trio": _AgainstLoop(rate=1.2, cpu=0.85),
}
_AGAINST_PEER = {"masivo": 5.5, "masivo-asyncio": 4.5, "masivo-trio": 5.0}


def table(results: Results) -> list[Row]:
    """Every target, with the figures of this run."""
    return [
        *_calls(results),
        *_collector(results),
        *_deliveries(results),
        *_latency(results),
        *_waiting(results),
        *_footprint(results),
        *_spool(results),
        *_relay(results),
    ]


def _scaled(found: Figure | None, factor: float) -> Figure | None:
    if found is None:
        return None
    return Figure(found.value * factor, found.low * factor, found.high * factor, found.rounds)


def _calls(results: Results) -> list[Row]:
    group = "1. one call"
    ours, by_hand = ("call", "masivo", "median"), "walk+encode+append"
    rows = [
        Row(group, "of masivo.Client", "µs", _scaled(figure(results, *ours), 1e6)),
        Row(
            group,
            "against walk + encode + append by hand",
            "x",
            ratio(results, ours, ("call", by_hand, "median")),
            "<=",
            1.1,
        ),
        Row(
            group,
            "its p99 against the p99 of that loop by hand",
            "x",
            ratio(results, ("call", "masivo", "p99"), ("call", by_hand, "p99")),
            "<=",
            1.3,
        ),
        Row(
            group,
            "p99 against its median",
            "x",
            ratio(results, ("call", "masivo", "p99"), ours),
        ),
    ]
    tail = ratio(results, ("call", by_hand, "p99"), ("call", by_hand, "median"))
    rows.append(Row(group, "p99 of that loop by hand against its median", "x", tail))
    peer = best(results, "call", PEERS, "median", most=False)
    if peer is not None:
        cheaper = ratio(results, ("call", peer, "median"), ours)
        rows.append(Row(group, f"the best peer ({peer}) against it", "x", cheaper, ">=", 3.0))
    for each in OURS[1:]:
        # A tenth is what two runs of the same code differ by.
        dearer = ratio(results, ("call", each, "median"), ours)
        rows.append(Row(group, f"{_SHORT[each]} against threads", "x", dearer, "<=", 1.1))
    for each in OURS:
        longest = _scaled(figure(results, "stall", each, "longest", min), 1e3)
        what = f"longest call while batches are sent, {_SHORT[each]}"
        rows.append(Row(group, what, "ms", longest, "<=", 10.0))
    machine = _scaled(figure(results, "stall", "masivo", "machine", min), 1e3)
    rows.append(Row(group, "longest call of a function that does nothing", "ms", machine))
    return rows


def _collector(results: Results) -> list[Row]:
    group = "1. garbage collector, 100,000 waiting"
    on, off = (
        ("collector on, dropped", "masivo", "longest"),
        ("collector off, dropped", "masivo", "longest"),
    )
    rows = [
        Row(
            group,
            "longest call with it on, deliveries dropped",
            "ms",
            _scaled(figure(results, *on, min), 1e3),
            "<=",
            5.0,
        ),
        Row(
            group,
            "the same, against the collector off",
            "x",
            _of_least(results, on, off),
            "<=",
            3.0,
        ),
    ]
    for keep in ("dropped", "kept"):
        pause = figure(results, f"collector on, {keep}", "masivo", "pause")
        rows.append(Row(group, f"longest collection, deliveries {keep}", "ms", _scaled(pause, 1e3)))
    kept = figure(results, "collector on, kept", "masivo", "longest", min)
    rows.append(Row(group, "longest call, deliveries kept", "ms", _scaled(kept, 1e3)))
    peer = best(results, "collector on, dropped", PEERS, "longest", most=False)
    if peer is not None:
        stall = figure(results, "collector on, dropped", peer, "longest", min)
        what = f"longest call of the best peer ({peer}), 40,000 waiting"
        rows.append(Row(group, what, "ms", _scaled(stall, 1e3)))
    return rows


def _of_least(
    results: Results, above: tuple[str, str, str], below: tuple[str, str, str]
) -> Figure | None:
    """The ratio of two longest calls, each the least of its rounds."""
    top, bottom = figure(results, *above, min), figure(results, *below, min)
    if top is None or bottom is None:
        return None
    value = top.value / bottom.value
    return Figure(value, value, value, min(top.rounds, bottom.rounds))


def _deliveries(results: Results) -> list[Row]:
    rows: list[Row] = []
    name, group = "end to end", "2. end to end, no latency"
    peer = best(results, name, PEERS, "rate", most=True)
    for each in OURS:
        ours = (name, each, "rate")
        rows.append(Row(group, f"{_SHORT[each]}", "events/s", figure(results, *ours)))
        bare = ratio(results, ours, (name, _LOOP_OF[each], "rate"))
        what = f"{_SHORT[each]} against a bare loop over httpx"
        rows.append(Row(group, what, "x", bare, ">=", _AGAINST_LOOP[each].rate))
        if peer is not None:
            ahead = ratio(results, ours, (name, peer, "rate"))
            what = f"{_SHORT[each]} against the best peer ({peer})"
            rows.append(Row(group, what, "x", ahead, ">=", _AGAINST_PEER[each]))
    # How far the HTTP library lets anybody come: side by side, and against the same peer.
    for loop in (*LOOPS, "httpx2 loop", "h11 loop", "socket loop"):
        by_hand = (name, loop, "rate")
        rows.append(Row(group, f"a bare {loop}", "events/s", figure(results, *by_hand)))
        if peer is not None:
            ahead = ratio(results, by_hand, (name, peer, "rate"))
            rows.append(Row(group, f"a bare {loop}, against the best peer", "x", ahead))
    group = "3. CPU per 100,000 events"
    for each in OURS:
        ours = (name, each, "cpu")
        rows.append(Row(group, _SHORT[each], "s", figure(results, *ours)))
        bare = ratio(results, ours, (name, _LOOP_OF[each], "cpu"))
        what = f"{_SHORT[each]} against a bare loop over httpx"
        rows.append(Row(group, what, "x", bare, "<=", _AGAINST_LOOP[each].cpu))
    return rows


def _latency(results: Results) -> list[Row]:
    group = "4. 20 ms latency, max_in_flight=8"
    one = ("latency, 1", "masivo", "rate")
    rows = [Row(group, "one request in flight", "events/s", figure(results, *one))]
    for each in OURS:
        gain = ratio(results, ("latency, 8", each, "rate"), one)
        what = f"{_SHORT[each]} against one in flight"
        rows.append(Row(group, what, "x", gain, ">=", 6.0))
    for each in OURS:
        gain = ratio(results, ("latency, 8, skewed", each, "rate"), one)
        what = f"{_SHORT[each]}, a fifth of one customer"
        rows.append(Row(group, what, "x", gain, ">=", 4.0))
    for each in OURS:
        wrong = _worst(results, ("latency, 8", "latency, 8, skewed"), each, "unordered")
        what = f"runs with a customer's events out of order, {_SHORT[each]}"
        rows.append(Row(group, what, "", wrong, "<=", 0.0))
    grows = ratio(
        results,
        ("choose, 200000 waiting", "core", "batch"),
        ("choose, 2000 waiting", "core", "batch"),
        min,
    )
    what = "choosing a batch, 200,000 waiting against 2,000"
    rows.append(Row(group, what, "x", grows, "<=", 1.3))
    limit = figure(results, "latency, 16", "httpx loop", "rate")
    rows.append(Row(group, "httpx by hand, 16 in flight", "events/s", limit))
    peer = best(results, "latency, peers", PEERS, "rate", most=True)
    if peer is not None:
        rate = figure(results, "latency, peers", peer, "rate")
        rows.append(Row(group, f"the best peer ({peer})", "events/s", rate))
    return rows


def _worst(results: Results, names: tuple[str, ...], contender: str, metric: str) -> Figure | None:
    """The sum of a metric over all samples of several cases."""
    samples = [s for name in names for s in results.get(name, {}).get(contender, ())]
    if not samples:
        return None
    total = sum(sample[metric] for sample in samples)
    return Figure(total, total, total, len(samples))


def _waiting(results: Results) -> list[Row]:
    group = "5. memory per waiting event"
    limit = ("memory, dropped", "encode+append", "bytes")
    rows = [Row(group, "the encoded event in a list", "bytes", figure(results, *limit))]
    for keep, most in (("dropped", 1.3), ("kept", 1.6)):
        for each in OURS:
            ours = (f"memory, {keep}", each, "bytes")
            found = ratio(results, ours, limit)
            if found is not None:
                what = f"{_SHORT[each]}, deliveries {keep}"
                rows.append(Row(group, what, "x", found, "<=", most))
    peer = best(results, "memory, dropped", PEERS, "bytes", most=False)
    if peer is not None:
        found = figure(results, "memory, dropped", peer, "bytes")
        rows.append(Row(group, f"the best peer ({peer})", "bytes", found))
    long = ("long queue", "masivo", "long")
    slower = ratio(results, long, ("long queue", "masivo", "short"), min)
    rows.append(Row(group, "a call behind the long queue against 1,000", "x", slower, "<=", 1.3))
    missing = _worst(results, ("long queue",), "masivo", "missing") if _delivered(results) else None
    rows.append(Row(group, "events of a long queue that did not arrive", "", missing, "<=", 0.0))
    return rows


def _delivered(results: Results) -> bool:
    return any("missing" in each for each in results.get("long queue", {}).get("masivo", ()))


def _footprint(results: Results) -> list[Row]:
    group = "6. import"
    ours = figure(results, "imports", "python", "masivo", min)
    rows = [
        Row(group, "import masivo, over a bare interpreter", "ms", _scaled(ours, 1e3), "<=", 10.0),
    ]
    for each in OURS:
        for suffix, what, most in (("", "CPU", 1.7), (" memory", "memory", 1.3)):
            client = "imports", "python", f"{each} client{suffix}"
            first = ratio(results, client, ("imports", "python", f"{each} parts{suffix}"))
            what = f"the first client against importing what it needs, {_SHORT[each]}: {what}"
            rows.append(Row(group, what, "x", first, "<=", most))
    peers = {each: figure(results, "imports", "python", each, min) for each in PEERS}
    times = {each: found for each, found in peers.items() if found is not None}
    if times:
        peer = min(times, key=lambda each: times[each].value)
        rows.append(Row(group, f"the best peer ({peer})", "ms", _scaled(times[peer], 1e3)))
    group = "7. idle, and many"
    for each in OURS:
        wakeups = figure(results, "idle", each, "wakeups", min)
        rows.append(Row(group, f"wake-ups per second, {_SHORT[each]}", "", wakeups, "<=", 0.0))
    rows += _many(results, group)
    for each in OURS:
        lost = figure(results, "burst", each, "lost")
        what = f"lost with default settings, {_SHORT[each]}"
        rows.append(Row("8. a burst of 20,000", what, "", lost, "<=", 0.0))
    for each in PEERS:
        lost = figure(results, "burst", each, "lost")
        if lost is not None:
            rows.append(Row("8. a burst of 20,000", f"lost by {each}", "", lost))
    return rows


def _many(results: Results, group: str) -> list[Row]:
    rows: list[Row] = []
    told: tuple[tuple[str, str, float], ...] = (("cpu", "ms", 1e3), ("bytes", "kB", 1e-3))
    for name in results:
        one_key = name.endswith("clients of one key")
        if not one_key and not name.endswith(" keys"):
            continue
        for each in OURS:
            get = partial(figure, results, name, each)
            if get("missing") is None:
                continue
            label = f"{name}, {_SHORT[each]}"
            threads: Relation = "<=" if one_key else ""
            most = 1.0 if each == "masivo" else 0.0
            rows.append(Row(group, f"{label}: not delivered", "", get("missing"), "<=", 0.0))
            rows.append(Row(group, f"{label}: threads", "", get("threads"), threads, most))
            if one_key:
                tokens = get("authorizations")
                rows.append(Row(group, f"{label}: tokens", "", tokens, "<=", 1.0))
            for metric, unit, factor in told:
                what = f"{label}: {'CPU' if metric == 'cpu' else 'memory'} per client"
                rows.append(Row(group, what, unit, _scaled(get(metric), factor)))
    return rows


_SEGMENT = 4_194_304
"""The bytes of a segment."""
_CHEAPER_THAN_QUEUE = {"persist-queue": 30.0, "litequeue": 4.0}


def _spool(results: Results) -> list[Row]:
    group = "9. the spool"
    append, write = ("store", "spool", "median"), ("store", "os.write", "median")
    rows = [
        Row(group, "a bare write of an event", "µs", _scaled(figure(results, *write), 1e6)),
        Row(group, "an append against it", "x", ratio(results, append, write), "<=", 3.5),
    ]
    for each in OURS:
        call = ("call, spool", each, "median")
        if not figure(results, *call):
            continue
        name = _SHORT[each]
        added = _added(results, call, ("call", each, "median"), write)
        rows += [
            Row(
                group,
                f"what the spool adds to a call, against a bare write, {name}",
                "x",
                added,
                "<=",
                3.5,
            ),
            Row(
                group,
                f"the whole call against an INSERT into SQLite, {name}",
                "x",
                ratio(results, call, ("store", "sqlite INSERT", "median")),
                "<=",
                1.2,
            ),
        ]
    call = ("call, spool", "masivo", "median")
    for queue in QUEUES:
        dearer = ratio(results, ("store", queue, "median"), call)
        least = _CHEAPER_THAN_QUEUE[queue]
        rows.append(Row(group, f"a put of {queue} against the call", "x", dearer, ">=", least))
    group = "9. the spool, while batches are removed"
    removing = ("removing", "spool"), *(("stall, spool", each) for each in OURS)
    for name, who in removing:
        if not figure(results, name, who, "p999"):
            continue
        what = "the store alone" if who == "spool" else f"a call, {_SHORT[who]}"
        tail, longest = (figure(results, name, who, each, min) for each in ("p999", "longest"))
        rows += [
            Row(group, f"p99.9 of {what}", "ms", _scaled(tail, 1e3), "<=", 0.25),
            Row(group, f"maximum of {what}", "ms", _scaled(longest, 1e3), "<=", 10.0),
        ]
    rows += _spooled_deliveries(results)
    return rows + _backlog(results)


def _spooled_deliveries(results: Results) -> list[Row]:
    group, rows = "9. end to end with the spool", list[Row]()
    peer = best(results, "end to end", PEERS, "rate", most=True)
    for each in OURS:
        ours = "end to end, spool", each
        if not figure(results, *ours, "rate"):
            continue
        what = f"{_SHORT[each]} against without"
        bare = ratio(results, (*ours, "rate"), ("end to end", each, "rate"))
        rows.append(Row(group, what, "x", bare))
        if peer is not None:
            ahead = ratio(results, (*ours, "rate"), ("end to end", peer, "rate"))
            what = f"{_SHORT[each]} against the best peer ({peer}), which has none"
            rows.append(Row(group, what, "x", ahead, ">=", 3.0))
        cpu = ratio(results, (*ours, "cpu"), ("end to end", _LOOP_OF[each], "cpu"))
        what = f"{_SHORT[each]}: CPU against a bare loop over httpx"
        rows.append(Row(group, what, "x", cpu, "<=", 2.2))
        # The least that storing can cost: what is between these and ours is ours.
        least = "end to end, spool", STORING[OURS.index(each)]
        if peer is not None:
            ahead = ratio(results, (*least, "rate"), ("end to end", peer, "rate"))
            what = f"{_SHORT[each]}: that loop against the best peer, if it stores each event"
            rows.append(Row(group, what, "x", ahead))
        cpu = ratio(results, (*least, "cpu"), ("end to end", _LOOP_OF[each], "cpu"))
        what = f"{_SHORT[each]}: CPU of that loop against itself, if it stores each event"
        rows.append(Row(group, what, "x", cpu))
    return rows


def _backlog(results: Results) -> list[Row]:
    group, get = "9. a backlog", partial(figure, results, "backlog", "spool")
    size = _scaled(get("memory"), 1 / (1 << 20))
    left = _scaled(get("left"), 1 / _SEGMENT)
    first = figure(results, "adopted", "masivo", "first")
    memory = _scaled(figure(results, "adopted", "masivo", "memory"), 1 / (1 << 20))
    return [
        Row(group, "its events", "", get("events")),
        Row(group, "its first batch is read after", "s", get("first"), "<=", 0.3),
        Row(group, "memory for it", "MiB", size, "<=", 16.0),
        Row(group, "read and removed", "events/s", get("rate"), ">=", 100_000.0),
        Row(group, "left on disk", "segments", left, "<=", 1.0),
        Row(group, "events that were not read", "", get("missing"), "<=", 0.0),
        Row(group, "its first batch has arrived after", "s", first, "<=", 0.3),
        Row(group, "memory of the client for it", "MiB", memory, "<=", 16.0),
    ]


def _relay(results: Results) -> list[Row]:
    group, get, against = "10. the relay", partial(figure, results), partial(ratio, results)
    relay, client = "relay, Redis", "masivo-asyncio"
    nothing, loop = ("intake", "relay, storing nothing"), ("intake", "redis-py loop")
    if not get("intake", relay, "rate"):
        return []
    taken, one = ("intake", relay), ("intake, alone", relay, "median")
    lone = get("intake, alone", "relay, storing nothing", "median")
    added = None if lone is None else _added(results, one, (one[0], nothing[1], one[2]), one)
    alone = get(*one)
    latency = None if added is None or alone is None else _scaled(added, alone.value * 1e3)
    bare = against((*taken, "rate"), (*loop, "rate"))
    drained = against(("drained", relay, "rate"), ("drained", client, "rate"))
    through = against(("through", "relay, spool", "rate"), ("through", client, "rate"))
    cpu = against((*taken, "cpu"), (*nothing, "cpu"))
    return [
        Row(group, "intake", "events/s", get(*taken, "rate")),
        Row(group, "its CPU against storing nothing", "x", cpu, "<=", 6.0),
        Row(group, "intake against a loop over redis-py", "x", bare, ">=", 0.5),
        Row(group, "latency added to a lone connection", "ms", latency, "<=", 3.0),
        Row(group, "delivered from Redis, against AsyncClient alone", "x", drained, ">=", 0.6),
        Row(
            group,
            "memory in Redis for a byte of a waiting event",
            "x",
            get("drained", relay, "memory"),
            "<=",
            1.2,
        ),
        Row(group, "through a spool, against AsyncClient with one", "x", through, ">=", 0.5),
    ]


def _added(
    results: Results,
    whole: tuple[str, str, str],
    part: tuple[str, str, str],
    unit: tuple[str, str, str],
) -> Figure | None:
    """By how much ``whole`` is above ``part``, in ``unit``; see ``ratio``."""
    above, below = ratio(results, whole, unit), ratio(results, part, unit)
    if above is None or below is None:
        return None
    low, high = above.low - below.high, above.high - below.low
    return Figure(above.value - below.value, low, high, min(above.rounds, below.rounds))
