"""The structure of the code: arrows between files that form no circle, maps that name what is
there, and a core whose private names stay in it.

An arrow is an import, wherever it stands: at the top of a file, in a function, or for type checkers
only. It leads to the file that is named: ``from package import module`` to the module, ``from
package import name`` to the package's ``__init__.py``. Python also runs the ``__init__.py`` of
every package on the way: that is no arrow, as no file could do without it.

The names that ``masivo`` resolves lazily lead to the files that define them, as nothing else is
loaded: ``from masivo import Client`` is an arrow to ``_sync/client.py``. ``masivo/__init__.py``
itself has an arrow to each of these files.
"""

from __future__ import annotations

import ast
import re
from collections import deque
from functools import cache
from pathlib import Path

import pytest

import masivo

ROOT = Path(__file__).parents[1]
PACKAGE = Path(masivo.__file__).parent
CORE = PACKAGE / "_protocol"
OUTSIDE = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(CORE))

Graph = dict[str, set[str]]


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text("utf-8"))


# ── Arrows ───────────────────────────────────────────────────────────────────────────────────


def modules(package: Path) -> dict[str, Path]:
    """The files of a package, by the names of their modules."""
    found: dict[str, Path] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def lazy_homes(package: Path) -> dict[str, str]:
    """The modules that define the names that a package resolves lazily: those that its
    ``__init__.py`` imports for type checkers only."""
    source = tree(package / "__init__.py")
    if not any(isinstance(n, ast.FunctionDef) and n.name == "__getattr__" for n in source.body):
        return {}
    return {
        alias.name: f"{package.name}.{node.module}"
        for block in source.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def imports(source: ast.Module, package: str) -> list[tuple[str, str | None]]:
    """The modules that a file of ``package`` imports, or imports a name from; ``from m import n``
    is ``(m, n)``."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            found += [(base, alias.name) for alias in node.names]
    return found


@cache
def arrows(package: Path) -> Graph:
    """The files of a package, each with those of its files that it imports."""
    files, homes = modules(package), lazy_homes(package)
    graph: Graph = {}
    for name, path in files.items():
        inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
        targets = graph[shown(path, package)] = set()
        for base, imported in imports(tree(path), inside):
            module = base
            if imported is not None and f"{base}.{imported}" in files:
                module = f"{base}.{imported}"
            elif base == package.name and imported in homes:
                module = homes[imported]
            if module in files:
                targets.add(shown(files[module], package))
    return graph


def shown(path: Path, package: Path) -> str:
    """A file as messages name it."""
    return path.relative_to(package).as_posix()


def rooms(graph: Graph) -> Graph:
    """The graph of a package's folders, its other files being each for itself."""
    merged: Graph = {}
    for source, targets in graph.items():
        room = source.split("/")[0]
        merged.setdefault(room, set()).update(target.split("/")[0] for target in targets)
        merged[room].discard(room)
    return merged


def circle(graph: Graph) -> str | None:
    """The shortest circle of a graph, in words: ``a → b → a``."""
    shortest: list[str] | None = None
    for start in sorted(graph):
        paths = deque([[start]])
        seen: set[str] = set()
        while paths:
            path = paths.popleft()
            if shortest is not None and len(path) + 1 >= len(shortest):
                break
            for target in sorted(graph[path[-1]]):
                if target == start:
                    shortest = [*path, start]
                    paths.clear()
                    break
                if target not in seen:
                    seen.add(target)
                    paths.append([*path, target])
    return None if shortest is None else " → ".join(shortest)


@pytest.mark.parametrize("package", [PACKAGE, ROOT / "benchmarks"], ids=["masivo", "benchmarks"])
def test_no_files_import_each_other_in_a_circle(package: Path) -> None:
    """Not even for type checkers, nor inside functions."""
    graph = arrows(package)
    assert len(graph) > 10
    assert circle(graph) is None


def test_no_rooms_of_the_core_import_each_other_in_a_circle() -> None:
    """Rooms, and the core's other files, are in layers."""
    graph = rooms(core_arrows())
    assert "batches" in graph
    assert circle(graph) is None


def core_arrows() -> Graph:
    """The files of the core, with the arrows between them."""
    prefix = "_protocol/"
    return {
        source.removeprefix(prefix): {
            target.removeprefix(prefix) for target in targets if target.startswith(prefix)
        }
        for source, targets in arrows(CORE.parent).items()
        if source.startswith(prefix)
    }


def test_the_check_finds_a_circle(tmp_path: Path) -> None:
    """However the imports are written; it names the shortest circle."""
    package = tmp_path / "p"
    (package / "room").mkdir(parents=True)
    for name, text in {
        "__init__": "from importlib import import_module\nif TYPE_CHECKING:\n"
        "    from .a import A\ndef __getattr__(name): ...",
        "a": "def f():\n    from p.room import b",
        "c": "import p.d",
        "d": "",
        "room/__init__": "",
        "room/b": "if TYPE_CHECKING:\n    from p import A, c",
    }.items():
        (package / f"{name}.py").write_text(text)
    graph = arrows(package)
    assert graph == {
        "__init__.py": {"a.py"},
        "a.py": {"room/b.py"},
        "c.py": {"d.py"},
        "d.py": set(),
        "room/__init__.py": set(),
        "room/b.py": {"a.py", "c.py"},
    }
    assert circle(graph) == "a.py → room/b.py → a.py"
    assert circle(rooms(graph)) == "a.py → room → a.py"
    graph["room/b.py"].remove("a.py")
    assert circle(graph) is None
    graph["d.py"].add("d.py")
    assert circle(graph) == "d.py → d.py"


# ── Maps ─────────────────────────────────────────────────────────────────────────────────────

SUITE = PACKAGE / "testing" / "conformance"
"""It has no map: its docstring is a page of the documentation, for people who use it."""

FOLDERS = sorted(
    path.parent for path in PACKAGE.rglob("__init__.py") if not path.is_relative_to(SUITE)
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: shown(path, PACKAGE.parent))
def test_a_map_names_what_is_there(folder: Path) -> None:
    """The docstring of each folder lists the files and the folders that are there: each once, and
    no other."""
    text = ast.get_docstring(tree(folder / "__init__.py")) or ""
    there = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    assert sorted(re.findall(r"^- ``(\w+)``: ", text, re.MULTILINE)) == sorted(there - {"__init__"})


# ── Threads ──────────────────────────────────────────────────────────────────────────────────

ALONE = {
    "_http/exchange.py": "one request's",
    "_http/tls.py": "before others see it",
    "_protocol/batches": "in polls",
    "_protocol/calls.py": "with the turn",
    "_protocol/delivery.py": "in polls, or by the last who holds it",
    "_protocol/sending": "in polls",
    "_protocol/settle.py": "after polls, in order",
    "_protocol/token": "in polls",
    "cli/importing": "in the program's main thread",
    "cli/sending.py": "by on_activity, one call at a time",
    "cli/spool.py": "in the program's main thread",
    "emulator/faults.py": "under the journal's lock",
    "emulator/inspector": "under the journal's lock",
    "emulator/quota.py": "under the journal's lock",
    "emulator/records.py": "under the journal's lock",
    "relay": "in the relay's event loop, or by the poll's side",
    "spool/log.py": "by the poll's side",
    "spool/ranges.py": "of a list that the call makes",
    "spool/rejected.py": "by the poll's side",
    "testing/conformance/client.py": "by the scenario's thread",
    "testing/conformance/clock.py": "under its lock",
}
"""Where an attribute or an item is changed by ``+=``, and why no two threads come to it at once."""


def changed_in_place(source: ast.Module) -> list[int]:
    """The lines that change an attribute, an item, or a name of the module's or of a function
    around theirs, by ``+=`` and its like."""
    changes = [node for node in ast.walk(source) if isinstance(node, ast.AugAssign)]
    declared = (node for node in ast.walk(source) if isinstance(node, ast.Global | ast.Nonlocal))
    shared = {name for node in declared for name in node.names}
    return [
        node.lineno
        for node in changes
        if not isinstance(node.target, ast.Name) or node.target.id in shared
    ]


def test_no_number_of_several_threads_is_raised_in_place() -> None:
    """``x.n += 1`` loses counts where threads run side by side (``masivo._protocol.tally`` has the
    rule). A new one needs a line above that says why only one thread at a time comes to it."""
    found = {shown(path, PACKAGE) for path in PACKAGE.rglob("*.py") if changed_in_place(tree(path))}
    reasons = {name: next((at for at in ALONE if name.startswith(at)), None) for name in found}
    assert [name for name, at in reasons.items() if at is None] == []
    assert set(ALONE) == set(reasons.values())


def test_the_check_finds_what_is_changed_in_place() -> None:
    """Attributes, items, and names that are not a function's own."""
    code = "a.b += 1\na[0] -= 1\nc += 1\na.b = 1\na.b |= c"
    assert changed_in_place(ast.parse(code)) == [1, 2, 5]
    code = "def f():\n    global c\n    c += 1\n    d += 1"
    assert changed_in_place(ast.parse(code)) == [3]


# ── Private names ────────────────────────────────────────────────────────────────────────────


def is_private(name: str) -> bool:
    """Whether a name is one that only its owner uses."""
    return name.startswith("_") and not name.endswith("__")


@cache
def attributes(path: Path) -> set[str]:
    """The private attributes that the classes of a file define."""
    found: set[str] = set()
    for each in ast.walk(tree(path)):
        if not isinstance(each, ast.ClassDef):
            continue
        for node in ast.walk(each):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)  # a name in ``__slots__``
    return {name for name in found if is_private(name) and name.isidentifier()}


@cache
def foreign(folder: str) -> frozenset[str]:
    """The private attributes of the core's classes, but for those that a class of this folder of
    the package (or a class beside the folders) has as well: a use of it is taken for that one."""
    near = [path for path in OUTSIDE if part(path) in (folder, "")]
    inside = (attributes(path) for path in CORE.rglob("*.py"))
    return frozenset(set[str]().union(*inside).difference(*map(attributes, near)))


def part(path: Path) -> str:
    """The folder of the package that a file is in; empty for none."""
    return path.relative_to(PACKAGE).parts[0] if path.parent.name != "masivo" else ""


def private_uses(source: ast.Module, folder: str) -> list[str]:
    """The private names of the core that a file in a folder outside it uses, in words."""
    found = [
        f"from {base} import {name}"
        for base, name in imports(source, "masivo")
        if "_protocol" in base.split(".") and name is not None and is_private(name)
    ]
    private = foreign(folder)
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and node.attr in private:
            found.append(f"line {node.lineno}: .{node.attr}")
        elif isinstance(node, ast.Constant) and node.value in private:
            found.append(f"line {node.lineno}: {node.value!r}")
    return found


def test_no_private_name_of_the_core_is_used_outside_it() -> None:
    """Neither imported nor read nor replaced: a private name can change on any day."""
    used = {shown(path, PACKAGE): private_uses(tree(path), part(path)) for path in OUTSIDE}
    assert {path: names for path, names in used.items() if names} == {}


@pytest.mark.parametrize(
    "code",
    [
        "from masivo._protocol.engine import _LOG",
        "engine._context",
        "engine._authorizer = None",
        "getattr(engine, '_context')",
        "class Mine:\n    _own = 1\n    def f(self): return self.buffer._gate",
    ],
)
def test_the_check_finds_private_names(code: str) -> None:
    """Imported, read, set, or named by a text."""
    assert private_uses(ast.parse(code), "testing")
