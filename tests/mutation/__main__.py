"""Mutation testing of folders: ``make mutants FOLDER=_http SECONDS=600``.

The order is random but fixed, so a run that is cut short is a fair sample. Results are kept: a run
goes on where the last one stopped, and judges again what has changed. After a change of the
tests, ``--again survived`` judges the survivors anew.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from .child import reached
from .equivalent import EQUIVALENT
from .folders import FOLDERS
from .operators import install

if TYPE_CHECKING:
    from mutmut.mutation.data import SourceFileMutationData

    from .folders import Folder

ROOT: Final = Path(__file__).parents[2]
NAMES: Final[dict[int | None, str]] = {
    0: "survived",
    1: "killed",
    33: "no tests",
    36: "timeout",
}
WANTED: Final = 85.0
"""Percent of a folder's mutants that tests kill."""
SLOW: Final = 2.0
"""Seconds that a test takes which is left for last."""


# ── The copy ─────────────────────────────────────────────────────────────────────────────────


def _copy(target: Path) -> None:
    """Bring the copy up to date: the package where mutmut reads it, the rest where tests run."""
    operators, made_by = (
        Path(__file__).with_name("operators.py").read_text("utf-8"),
        target / "operators",
    )
    if not made_by.exists() or made_by.read_text("utf-8") != operators:
        shutil.rmtree(target / "mutants" / "masivo", ignore_errors=True)
        made_by.write_text(operators, "utf-8")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    wanted: set[Path] = set()
    for name in listed.stdout.splitlines():
        source = ROOT / name
        places = [target / "mutants" / name]
        if name.startswith("masivo/"):
            # What is not Python is read by the tests, and not changed by mutmut.
            places = [target / name] if name.endswith(".py") else [target / name, *places]
        for place in places if source.is_file() else []:
            wanted.add(place)
            if not place.exists() or place.read_bytes() != source.read_bytes():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)
                shutil.copymode(source, place)
    kept = target / "mutants" / "masivo"
    for place in [each for each in target.rglob("*") if each.is_file()]:
        written = place.suffix in (".meta", ".spans", ".pyc") or place.parent == target
        original = target / "masivo" / place.relative_to(kept) if kept in place.parents else place
        if not written and original not in wanted:
            place.unlink()
    shutil.copyfile(ROOT / "pyproject.toml", target / "pyproject.toml")


def _enter(target: Path) -> None:
    """Have this process, and every Python that it starts, import the copy alone."""
    os.chdir(target)
    sys.path[:] = [each for each in sys.path if Path(each).resolve() != ROOT]
    package = target / "mutants"
    os.environ["PYTHONPATH"] = f"{package}{os.pathsep}{package / 'tests' / 'mutation' / 'child'}"
    os.environ[reached.FILE] = str(target / "reached")


# ── The mutants ──────────────────────────────────────────────────────────────────────────────


def _make(folder: Folder, seed: int) -> list[tuple[SourceFileMutationData, str]]:
    """Make the mutants; return them, in the order in which they are judged."""
    from mutmut import __main__ as mutmut
    from mutmut.configuration import config
    from mutmut.utils.file_utils import copy_src_dir, setup_source_paths

    install()
    config().only_mutate = list(folder.changed)
    copy_src_dir()
    setup_source_paths()
    with contextlib.redirect_stdout(io.StringIO()):  # a line for each file
        mutmut.create_mutants(1)
    found, _ = mutmut.collect_source_file_mutation_data(mutant_names=())
    mutants = sorted(((data, name) for data, name, _ in found), key=lambda pair: pair[1])
    Random(seed).shuffle(mutants)
    return mutants


def _described(data: SourceFileMutationData, name: str) -> str:
    """A mutant as the list of equivalents has it: file, function, the old text, the new text."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(name, path=data.path).splitlines()
    sides = [
        " ".join(
            " ".join(line[1:].split())
            for line in lines
            if line[:1] == sign and line[:3] != 3 * sign
        )
        for sign in "-+"
    ]
    function = name.rpartition(".")[2].partition("__mutmut_")[0]
    function = function.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    return f"{data.path} {function}: {sides[0]} => {sides[1]}"


def _arguments(folder: Folder) -> list[str]:
    """Return what pytest is given."""
    without = " and ".join(f"not {word}" for word in folder.without)
    return [*folder.tests, "-k", without]


def _reach(folder: Folder) -> tuple[dict[str, float], dict[str, list[str]]]:
    """Return the seconds of every test, and the tests that reach each function, as kept or anew."""
    from .judge import reach

    files = [*Path("masivo").rglob("*.py"), *Path("mutants/tests").rglob("*.py")]
    content = b"".join(file.read_bytes() for file in sorted(files)) + repr(folder).encode()
    digest, kept = sha256(content).hexdigest(), Path("reach.json")
    known: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    if known.get("digest") != digest:
        with contextlib.chdir("mutants"):
            found = reach(_arguments(folder))
        for test in sorted(found.failed):
            print(f"left out, as it fails without a mutant: {test}")
        known = {"digest": digest, "seconds": found.seconds, "tests": found.tests}
        kept.write_text(json.dumps(known), "utf-8")
    return known["seconds"], known["tests"]


def _in_order(tests: list[str], seconds: dict[str, float]) -> list[str]:
    """Return tests file by file, as they expect each other; what takes longer comes later, and the
    slow ones, which survivors alone meet, last."""
    files = defaultdict[str, float](float)
    for test in tests:
        files[test.partition("::")[0]] += seconds[test]

    def rank(test: str) -> tuple[bool, float, str, float]:
        file = test.partition("::")[0]
        return seconds[test] > SLOW, files[file], file, seconds[test]

    return sorted(tests, key=rank)


# ── A run ────────────────────────────────────────────────────────────────────────────────────


def _run(
    folder: Folder, mutants: list[tuple[SourceFileMutationData, str]], options: argparse.Namespace
) -> None:
    """Judge as many as there is time for."""
    from .judge import Trial, judge

    data = {name: file for file, name in mutants}
    names = [
        name
        for name in data
        if data[name].exit_code_by_key[name] is None and fnmatch(name, options.only)
    ][: options.count]
    if not names:
        return
    seconds, reaching = _reach(folder)
    trials: list[Trial] = []
    for name in names:
        tests = reaching.get(name.partition("__mutmut_")[0], [])
        trials.append(Trial(name, {test: seconds[test] for test in _in_order(tests, seconds)}))

    def tell(name: str, result: int) -> None:
        if result == 0 and name.partition("__mutmut_")[0] not in reaching:
            result = 33
        with contextlib.chdir(".."):
            data[name].exit_code_by_key[name] = result
            data[name].save()
            if result != 1:
                print(f"{NAMES[result]}: {_described(data[name], name)}", flush=True)

    with contextlib.chdir("mutants"):
        until = time.monotonic() + options.seconds
        unfit = judge(_arguments(folder), trials, until, options.jobs, tell)
    for test in sorted(unfit):
        print(f"left out, as it fails without a mutant, see control.txt: {test}")


def _report(name: str, mutants: list[tuple[SourceFileMutationData, str]]) -> bool:
    """Print what became of all; return whether enough are killed, and the list is right."""
    counts, known, wrong = Counter[str](), 0, 0
    made = {str(data.path) for data, _ in mutants}
    unknown = {each for each in EQUIVALENT if each.partition(" ")[0] in made}
    for data, mutant in mutants:
        result = data.exit_code_by_key[mutant]
        if result is None:
            continue
        counts[NAMES[result]] += 1
        if result == 1 and not unknown:
            continue
        words = _described(data, mutant)
        reason = EQUIVALENT.get(words)
        unknown.discard(words)
        if result == 1:
            if reason is not None:
                print(f"written down as a survivor, but killed: {words}")
                wrong += 1
            continue
        known += reason is not None
        print(f"{NAMES[result]}: {words}" + (f" ({reason})" if reason else ""))
    judged = counts.total()
    if judged == len(mutants):
        for words in unknown:
            print(f"written down, but there is no such mutant: {words}")
            wrong += 1
    killed = counts["killed"] + counts["timeout"]
    score = 100.0 * killed / max(1, judged - known)
    print(f"{name}: {len(mutants)} mutants, {judged} judged: {dict(counts)}")
    print(f"{name}: {score:.1f} % killed, {known} equivalents left out")
    return score >= WANTED and not wrong


def _judge(name: str, options: argparse.Namespace) -> bool:
    folder, target = FOLDERS[name], ROOT / ".mutated" / name
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"another run judges the mutants of {name}") from None
        _copy(target)
        _enter(target)
        mutants = _make(folder, options.seed)
        for data, mutant in mutants:
            if NAMES.get(data.exit_code_by_key[mutant]) in options.again:
                data.exit_code_by_key[mutant] = None
        _run(folder, mutants, options)
        return _report(name, mutants)


def _each(seconds: float) -> bool:
    """Judge mutants of every folder, each in a process of its own, for a share of the time."""
    share = str(seconds / (len(FOLDERS) + 1))
    commands = [["tests.simulation.mutants"], *(["tests.mutation", name] for name in FOLDERS)]
    started = [
        subprocess.run([sys.executable, "-m", *command, "--seconds", share], cwd=ROOT, check=False)
        for command in commands
    ]
    return all(done.returncode == 0 for done in started)


def main() -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("folder", nargs="?", choices=list(FOLDERS), help="the core too without")
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long")
    parser.add_argument("--count", type=int, help="how many at most")
    parser.add_argument("--only", default="*", help="those whose name is like this: *_send__*")
    parser.add_argument("--seed", type=int, default=1, help="of the order; another: a fresh sample")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--again", nargs="*", default=[], help="judge anew what came to this")
    options = parser.parse_args()
    if options.folder is None:
        return 0 if _each(options.seconds) else 1
    return 0 if _judge(options.folder, options) else 1


if __name__ == "__main__":
    sys.exit(main())
