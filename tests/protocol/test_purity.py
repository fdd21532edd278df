"""The core is pure: nothing in it does I/O, waits, or tells the time."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import masivo._protocol

CORE = Path(masivo._protocol.__file__).parent

ALLOWED = {
    "__future__",
    "abc",
    "base64",
    "binascii",
    "collections",
    "collections.abc",
    "contextlib",
    "contextvars",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "functools",
    "heapq",
    "hmac",
    "inspect",
    "ipaddress",
    "json",
    "math",
    "msgspec",
    "re",
    "types",
    "typing",
    "urllib.parse",
    "uuid",
    "weakref",
    "zlib",
}
"""Modules that the core may import: they compute, and nothing else."""

ALLOWED_NAMES = {
    "datetime": {"UTC", "date", "datetime", "timedelta"},
    "uuid": {"UUID"},
    "hmac": {"compare_digest", "digest"},
    "ipaddress": {"ip_address"},
    "json": {"dumps", "loads"},
    "urllib.parse": {"urlsplit"},
    "types": {
        *("AsyncGeneratorType", "CoroutineType", "GeneratorType"),
        *("MappingProxyType", "MemberDescriptorType", "NoneType"),
    },
    "contextlib": {"contextmanager", "suppress"},
    "contextvars": {"ContextVar"},
    "inspect": {"iscoroutinefunction", "signature"},
    "weakref": {"WeakValueDictionary"},
}
"""What it may take from modules that hold more than computing: names, or attributes used."""

CLOCKS_AND_DICE = {"now", "utcnow", "today", "monotonic", "perf_counter", "time_ns", "uuid1"}
"""Attributes that would tell the time, or draw, if called on a class imported above."""

FORBIDDEN_CALLS = {"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint"}
"""Built-in functions that do I/O, or could reach what does."""


def root(node: ast.expr) -> str | None:
    """The name that a chain of attributes begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def violations(tree: ast.AST) -> list[str]:
    """What a syntax tree of the core must not contain, in words."""
    found: list[str] = []
    names: dict[str, str] = {}  # what an import bound to which name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name] = alias.name
                if alias.name not in ALLOWED:
                    found.append(f"import {alias.name}")
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            if module.split(".")[:2] == ["masivo", "_protocol"]:
                continue
            allowed = ALLOWED_NAMES.get(module)
            for alias in node.names:
                names[alias.asname or alias.name] = f"{module}.{alias.name}"
                if module not in ALLOWED or (allowed is not None and alias.name not in allowed):
                    found.append(f"from {module} import {alias.name}")
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            found.append(f"a relative import out of the room: {node.module}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr in CLOCKS_AND_DICE and root(node) in names:
                found.append(f".{node.attr}")
            if isinstance(node.value, ast.Name) and node.value.id in names:
                allowed = ALLOWED_NAMES.get(names[node.value.id])
                if allowed is not None and node.attr not in allowed:
                    found.append(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in FORBIDDEN_CALLS:
                found.append(f"{called.id}()")
            if isinstance(called, ast.Attribute) and called.attr in CLOCKS_AND_DICE:
                found.append(f".{called.attr}()")  # the engine's own `now` is no method
        elif isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith):
            found.append(f"line {node.lineno}: async")
    return found


def test_the_core_is_pure() -> None:
    """A file of the core imports only what computes, nothing of the package outside the core,
    and uses neither a clock, nor a random source of its own, nor I/O, nor coroutines."""
    found = {
        file.relative_to(CORE).as_posix(): violations(ast.parse(file.read_text("utf-8")))
        for file in CORE.rglob("*.py")
    }
    assert {"engine.py", "buffer.py", "token/life.py", "wire/__init__.py"} <= set(found)
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "import random",
        "import socket",
        "import threading",
        "import asyncio",
        "import logging",
        "import os",
        "import httpx",
        "from time import monotonic",
        "from random import Random",
        "import masivo",
        "from masivo import Client",
        "from masivo._http import Http",
        "from masivo import _protocol",
        "from masivo._protocol_of_another import x",
        "from .. import _http",
        "from .._http import Http",
        "from datetime import timezone",
        "from uuid import uuid4",
        "from datetime import datetime\ndatetime.now()",
        "from datetime import datetime\nclock = datetime.now",
        "from datetime import datetime as d\nd.utcnow()",
        "from datetime import date\ndate.today()",
        "import datetime\ndatetime.datetime.now()",
        "import uuid\nuuid.uuid4()",
        "import inspect\ninspect.currentframe()",
        "def f():\n    import time",
        "open('x')",
        "__import__('time')",
        "async def f(): ...",
    ],
)
def test_the_check_finds_impurity(code: str) -> None:
    """The check finds each way out of the core that it forbids."""
    assert violations(ast.parse(code))
