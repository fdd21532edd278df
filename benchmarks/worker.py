"""One sample in one process: ``python -m benchmarks.worker`` with a case on standard input.

A process for each sample, so that no contender meets another's threads, garbage or imports.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from . import calls, deliveries, footprint, limits, ours, peers, relaying, storing
from .contender import Contender, Options
from .loopback import stay_on_loopback
from .sink import SinkControl, raise_file_limit

__all__ = ["main"]

_CONTENDERS: dict[str, type[Contender]] = {
    each.name: each for each in (*ours.ALL, *peers.ALL, *limits.ALL)
}
"""By name. What they measure is imported when they are opened, not here."""

_Measure: TypeAlias = Callable[..., Coroutine[Any, Any, dict[str, float]]]

_WITH_CONTENDER: dict[str, _Measure] = {
    "call": calls.call,
    "stall": calls.stall,
    "collector": calls.collector,
    "long_queue": calls.long_queue,
    "end_to_end": deliveries.end_to_end,
    "verify": deliveries.verify,
    "burst": deliveries.burst,
    "memory": footprint.memory,
    "idle": footprint.idle,
}
_UNOPENED: dict[str, _Measure] = {"many": footprint.many, "adopted": storing.adopted}
_ALONE: dict[str, Callable[..., dict[str, float]]] = {
    "choose": deliveries.choose,
    "imports": footprint.imports,
    "removing": storing.removing,
    "backlog": storing.backlog,
}
_WITH_SINK: dict[str, Callable[..., dict[str, float]]] = {
    "drained": relaying.drained,
    "through": relaying.through,
}


def _sample(
    sink: SinkControl,
    measure: str,
    contender: str,
    options: dict[str, Any],
    parameters: dict[str, Any],
) -> dict[str, float]:
    if measure == "store":
        return storing.store(contender, **parameters)
    if measure == "intake":
        return relaying.intake(contender, sink, **parameters)
    if measure in _WITH_SINK:
        return _WITH_SINK[measure](sink, **parameters)
    if measure in _ALONE:
        return _ALONE[measure](**parameters)
    subject: Contender = _CONTENDERS[contender](Options(sink, **options))

    async def main() -> dict[str, float]:
        if measure in _UNOPENED:
            return await _UNOPENED[measure](subject, **parameters)
        await subject.open()
        result = await _WITH_CONTENDER[measure](subject, **parameters)
        sink.set()
        await subject.close()
        return result

    return subject.run(main)


def main() -> None:
    """Take the case from standard input, and print its numbers."""
    stay_on_loopback()
    raise_file_limit()
    case = json.load(sys.stdin)
    sink = SinkControl(case.pop("port"))
    sink.set()
    print(json.dumps(_sample(sink, **case)), flush=True)
    # Peers have threads that never end, some of them no daemons.
    os._exit(0)


if __name__ == "__main__":
    main()
