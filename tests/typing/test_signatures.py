"""No public signature is vague: none takes or gives ``Any``."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_type_hints

import masivo
from masivo import protocol

if TYPE_CHECKING:
    import pytest

SPECIAL = ("__init__", "__await__", "__enter__", "__exit__", "__aenter__", "__aexit__")
"""The special methods that users call, by their syntax."""

JSON = {
    "SendEventResult": ("data", "__init__: data"),
    "FailedEvent": ("event", "__init__: event"),
    "BeforeSend": ("itself",),
    "Settings": ("before_send",),
    "ClientOptions": ("before_send",),
}
"""The places of public objects whose type is that of any JSON."""

EXPORTED = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (masivo, protocol)
    for name in module.__all__
}


@cache
def names_of(module: ModuleType) -> dict[str, Any]:
    """What the annotations of a module may name: what it holds, and what it imports for type
    checkers alone."""
    names = dict(vars(module))
    tree = ast.parse(inspect.getsource(module))
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            # A class is there already, in another form: this Python may not take that one.
            body = [each for each in node.body if not isinstance(each, ast.ClassDef)]
            code = ast.Module(body=body, type_ignores=[])
            exec(compile(code, module.__name__, "exec"), names)
    return names


@cache
def all_names() -> dict[str, Any]:
    """The same of every module of the core and the clients: aliases are resolved in it."""
    names: dict[str, Any] = {}
    for found in pkgutil.walk_packages(masivo.__path__, "masivo."):
        if not found.name.startswith(("masivo.emulator", "masivo.testing", "masivo.__main__")):
            names |= names_of(import_module(found.name))
    return names


def hints(annotated: Any) -> dict[str, Any]:
    """The resolved annotations of a class or a function, but for private names."""
    found: dict[str, Any] = {}
    for each in reversed(annotated.__mro__) if isinstance(annotated, type) else [annotated]:
        if each.__module__.startswith("masivo"):
            names = {**all_names(), **names_of(sys.modules[each.__module__])}
            annotations = vars(each).get("__annotations__", each.__annotations__)
            # Of a forward reference its text, as others may have resolved it in their own way.
            public = {
                name: getattr(hint, "__forward_arg__", hint)
                for name, hint in annotations.items()
                if name[0] != "_"
            }
            found |= get_type_hints(SimpleNamespace(__annotations__=public), names, names)
    return found


def is_vague(hint: object, seen: tuple[object, ...] = ()) -> bool:
    """Whether ``Any`` is in a type, however deep."""
    if hint is Any:
        return True
    if any(hint is each for each in seen):
        return False
    inner = list(get_args(hint))
    inner += [
        part for each in inner if isinstance(each, list) for part in cast("list[object]", each)
    ]
    if isinstance(hint, TypeVar):
        inner += [hint.__bound__, *hint.__constraints__]
    return any(is_vague(each, (*seen, hint)) for each in inner)


def functions(kind: type) -> dict[str, FunctionType]:
    """The public functions of a class, properties included, wherever it has them from."""
    found: dict[str, FunctionType] = {}
    for name, member in inspect.getmembers_static(kind):
        if name.startswith("_") and name not in SPECIAL:
            continue
        if isinstance(member, property):
            member = member.fget
        elif isinstance(member, staticmethod | classmethod):
            member = cast("Any", member).__func__
        if isinstance(member, FunctionType) and member.__module__.startswith("masivo"):
            found[name] = member
    return found


def vague(exported: object) -> list[str]:
    """The places of a public object where its types say ``Any``."""
    if isinstance(exported, FunctionType):
        return [name for name, hint in hints(exported).items() if is_vague(hint)]
    if not isinstance(exported, type):
        return ["itself"] if is_vague(exported) else []
    found = [name for name, hint in hints(exported).items() if is_vague(hint)]
    for method, function in functions(exported).items():
        found += [f"{method}: {name}" for name, hint in hints(function).items() if is_vague(hint)]
    return found


def test_the_three_clients_are_alike() -> None:
    """They take the same arguments, with the same defaults, and have the same methods, which take
    the same; to close is ``aclose`` where it is awaited."""

    def face(kind: type) -> dict[str, list[tuple[str, object, object]]]:
        found = {"__init__": inspect.signature(kind), **methods(kind)}
        return {
            name.removeprefix("a") if name == "aclose" else name: [
                (each.name, each.kind, each.default) for each in signature.parameters.values()
            ]
            for name, signature in found.items()
        }

    def methods(kind: type) -> dict[str, inspect.Signature]:
        public = {name: each for name, each in functions(kind).items() if name[0] != "_"}
        return {name: inspect.signature(each) for name, each in public.items()}

    threads, asyncio, trio = map(face, (masivo.Client, masivo.AsyncClient, masivo.TrioClient))
    assert threads == asyncio == trio
    assert {"close", "destroy", "drain", "flush", "get_token", "stats"} < set(threads)


def test_nothing_public_is_vague() -> None:
    """No parameter, result or attribute of a public name is ``Any``, nor is anything in it; but for
    JSON of an event or a response, which programs index (``result.data["x"]``)."""
    found = {name: tuple(vague(exported)) for name, exported in EXPORTED.items()}
    assert found == {name: JSON.get(name.rpartition(".")[2], ()) for name in EXPORTED}


def test_everything_public_is_annotated() -> None:
    """Each parameter of each public function has a type, and so has its result."""
    found = [each for each in EXPORTED.values() if isinstance(each, FunctionType)]
    for exported in EXPORTED.values():
        if isinstance(exported, type):
            found += functions(exported).values()
    for function in found:
        parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
        assert parameters | {"return"} <= set(function.__annotations__), function.__qualname__


class Vague:
    """What the walk must find."""

    at: list[Any]

    def method(self, one: int, two: dict[str, Any | None]) -> None:
        """A parameter that says nothing."""

    @property
    def value(self) -> Any:
        """A property that says nothing."""


def test_the_walk_finds_what_is_vague(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Any`` is found in attributes, parameters and properties."""
    for member in (Vague, Vague.method, vars(Vague)["value"].fget):
        monkeypatch.setattr(member, "__module__", "masivo.protocol")
    monkeypatch.setitem(all_names(), "Any", Any)
    assert vague(Vague) == ["at", "method: two", "value: return"]


def test_an_event_is_resolved_by_whoever_reads_types() -> None:
    """Libraries that validate by annotations can resolve those of AnalyticsEvent."""
    assert {"type", "customer_id", "issued_at"} <= set(get_type_hints(masivo.AnalyticsEvent))


def test_the_walk_sees_the_methods() -> None:
    """It looks at what users call."""
    assert {"send_analytics_event", "flush", "stats", "__init__", "__enter__"} <= set(
        functions(masivo.Client)
    )
    assert "poll" in functions(protocol.Engine)


def test_every_public_name_is_exercised() -> None:
    """``api.py`` uses each public name of the package, so that the checkers see it."""
    tree = ast.parse(Path(__file__).with_name("api.py").read_text("utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(masivo.__all__) <= used
