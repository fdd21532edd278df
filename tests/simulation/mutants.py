"""Mutation testing of the core: ``python -m tests.simulation.mutants``, or ``make mutants``.

Each mutant (``mutations.py``) is judged in a process of its own, a fork of one in which the core
was not imported yet: by the simulator and by the core's tests, until one of them kills it. One
that takes far more processor time than a sound core is counted apart, as a time-out.

The order is random but fixed, so a run that is cut short is a fair sample; ``--seed`` gives
another. Results are kept in ``.mutants``: a run goes on where the last one stopped, and judges
again what has changed. After a change of the tests, ``--again survived`` judges the survivors anew.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from .equivalent import EQUIVALENT
from .mutations import CORE, FILES, ROOT, changed, mutants_of
from .reach import QUIET, Repeatable, reach

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

    from .mutations import Mutant
    from .reach import Reach

RESULTS: Final = ROOT / ".mutants"

SPOOLED: Final = ("batches/", "storage/", "buffer.py")
"""The files that the simulation of spools tries as well."""
SPOOL_SEEDS: Final = 80
"""Of that simulation."""
FEW_SEEDS: Final = 30
SEEDS: Final = 300
"""Of the simulator, for each mutant that the tests let live."""

LONGEST: Final = 600
"""Seconds by the clock, for one that waits for ever and takes no processor time."""

SURVIVED: Final = 0
KILLED: Final = {3: "simulator", 4: "tests"}
"""What the exit status of a mutant's process says."""


MEMORY: Final = 2 << 30
"""Bytes, for one that takes ever more."""


# ── In a mutant's process ────────────────────────────────────────────────────────────────────


def _install(mutant: Mutant) -> None:
    """Have the file of a mutant imported as the mutant has it."""
    path, tree, unchanged = str(CORE / mutant.file), changed(mutant), SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, name: str) -> CodeType | None:
        if self.path != path:
            return unchanged(self, name)
        return compile(tree, path, "exec", dont_inherit=True)

    setattr(SourceFileLoader, "get_code", get_code)  # noqa: B010 (a checker's method is final)
    # Now, as pytest has a loader of its own for what is imported later.
    import_module(".".join(("masivo", "_protocol", *Path(mutant.file).with_suffix("").parts)))


def _limit(seconds: float) -> None:
    """End this process once it has taken this many more seconds of processor time."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _simulate(seeds: range) -> bool:
    from .frame import Totals
    from .run import SIMULATOR

    _limit(4.0 + 0.1 * len(seeds))  # ten times what a sound core takes
    return SIMULATOR.run_seeds(seeds, Totals()) is None


def _simulate_spools() -> bool:
    sys.path.insert(0, str(ROOT / "tests"))
    from spool.simulation.run import SIMULATOR

    from simulation.frame import Totals

    _limit(60.0)
    return SIMULATOR.run_seeds(range(SPOOL_SEEDS), Totals()) is None


class _Chosen:
    """Has some tests run alone, in this order, for so long each at most."""

    def __init__(self, tests: Sequence[str], seconds: dict[str, float]) -> None:
        self._order = {test: number for number, test in enumerate(tests)}
        self._seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Called with everything that was found."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order),
            key=lambda item: self._order[item.nodeid],
        )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Called before each test."""
        _limit(4.0 + 10.0 * self._seconds[nodeid])


def _test(tests: Sequence[str], seconds: dict[str, float]) -> bool:
    if not tests:
        return True
    _limit(20.0)  # to find them
    files = {test.split("::", 1)[0] for test in tests}
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *QUIET]
    plugins = [Repeatable(), _Chosen(tests, seconds)]
    return pytest.main([*options, *sorted(files)], plugins=plugins) == pytest.ExitCode.OK


def _judged(mutant: Mutant | None, reached: Reach) -> int:
    """Run the simulator, and the tests that reach the mutant, here; the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if mutant is not None:
        _install(mutant)
    if not _simulate(range(FEW_SEEDS)):
        return 3
    tests = list(reached.seconds) if mutant is None else reached.tests(mutant.file, mutant.span)
    if not _test(tests, reached.seconds):
        return 4
    if mutant is not None and mutant.file.startswith(SPOOLED) and not _simulate_spools():
        return 3
    return SURVIVED if _simulate(range(FEW_SEEDS, SEEDS)) else 3


# ── In the first process ─────────────────────────────────────────────────────────────────────


def _judge(mutant: Mutant | None, reached: Reach) -> int:
    """Start to judge a mutant, or the core as it is; the id of its process."""
    pid = os.fork()
    if pid:
        return pid
    status = 3  # whatever else ends it, the core did not even start
    os.setsid()  # what it may do to its group is not done to this process
    signal.alarm(LONGEST)
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = tempfile.gettempdir()
        status = _judged(mutant, reached)
    finally:
        os._exit(status)


def _result(wait_status: int) -> str:
    """What became of a mutant: what killed it, ``timeout``, or ``survived``."""
    if os.WIFSIGNALED(wait_status):
        late = os.WTERMSIG(wait_status) in (signal.SIGPROF, signal.SIGALRM)
        return "timeout" if late else "tests"
    return KILLED.get(os.WEXITSTATUS(wait_status), "survived")


def _load() -> dict[str, str]:
    """The results so far."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else []
    return {key: result for result, _, key in (line.partition(" ") for line in lines)}


def _run(mutants: list[Mutant], results: dict[str, str], seconds: float, jobs: int) -> None:
    """Judge as many as there is time for."""
    until = time.monotonic() + seconds
    running: dict[int, Mutant] = {}
    todo = mutants[::-1]
    done = 0
    if not todo:
        return
    reached = reach()
    if _result(os.waitpid(_judge(None, reached), 0)[1]) != "survived":
        raise RuntimeError("the core is killed as it stands: run `make test`")
    with RESULTS.open("a", encoding="utf-8") as kept:
        while running or (todo and time.monotonic() < until):
            while todo and len(running) < jobs and time.monotonic() < until:
                mutant = todo.pop()
                running[_judge(mutant, reached)] = mutant
            pid, wait_status = os.wait()
            mutant, result = running.pop(pid), _result(wait_status)
            results[mutant.key] = result
            kept.write(f"{result} {mutant.key}\n")
            kept.flush()
            done += 1
            if result in ("survived", "timeout"):
                print(f"{done}/{len(mutants)} {result}: {mutant}", flush=True)


def _report(mutants: list[Mutant], results: dict[str, str]) -> int:
    """Say what became of all; the exit status: whether 97 % are killed, and the list is right."""
    found = {mutant: results[mutant.key] for mutant in mutants if mutant.key in results}
    counts = Counter(found.values())
    unknown = dict(EQUIVALENT)
    known = wrong = 0
    for mutant, result in found.items():
        reason = unknown.pop((mutant.file, mutant.name), None)
        if reason is not None and result == "survived":
            known += 1
        elif reason is not None:
            print(f"written down as a survivor, but {result}: {mutant}")
            wrong += 1
        if result in ("survived", "timeout"):
            print(f"{result}: {mutant}" + (f" ({reason})" if reason else ""))
    files = {mutant.file for mutant in mutants}
    for file, name in unknown:
        if file in files and len(found) == len(mutants):
            print(f"written down, but there is no such mutant: {file}: {name}")
            wrong += 1
    killed = counts["simulator"] + counts["tests"]
    print(f"{len(mutants)} mutants, {len(found)} judged: {dict(counts)}")
    print(f"of those that survived, {known} are written down, with the reason")
    score = 100.0 * killed / max(1, killed + counts["survived"])
    print(f"killed, time-outs apart and nothing left out: {score:.1f} %")
    return 1 if wrong or score < 97.0 else 0


def main() -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long")
    parser.add_argument("--files", nargs="*", help="the files to change; all without")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--again", nargs="*", default=[], help="judge anew what came to this")
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    arguments = parser.parse_args()
    sys.dont_write_bytecode = False  # each mutant's process would compile all tests
    mutants = [mutant for file in arguments.files or FILES for mutant in mutants_of(file)]
    Random(arguments.seed).shuffle(mutants)
    results = _load()
    todo = [m for m in mutants if results.get(m.key) in (None, *arguments.again)]
    _run(todo, results, arguments.seconds, arguments.jobs)
    return _report(mutants, results)


if __name__ == "__main__":
    sys.exit(main())
