"""Puts a defect into the core of this process, before the core is imported.

Nothing is written: the module is compiled from its own text with one place changed.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence
    from types import CodeType, ModuleType

__all__ = ["Defect", "core_file", "install"]

PACKAGE: Final = "masivo._protocol"


@dataclass(frozen=True, slots=True)
class Defect:
    """One place in the core, and what is to stand there."""

    name: str
    """What is wrong then."""
    file: str
    """The module's file, such as ``retry.py``."""
    old: str
    """What stands there now, once in the file."""
    new: str

    def apply(self, text: str) -> str:
        """The file's text with the defect in it.

        Raises:
            ValueError: the place is not there, or not alone.
        """
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} has it {text.count(self.old)} times")
        return text.replace(self.old, self.new)


def core_file(name: str) -> Path:
    """A file of the core."""
    package = PathFinder.find_spec("masivo")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("masivo is not installed")
    return Path(package.origin).parent / "_protocol" / name


class _Loader(SourceFileLoader):
    """Compiles a module from something else than its file."""

    def __init__(self, fullname: str, path: str, source: str | ast.Module) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        """See ``InspectLoader``: no cached bytecode is looked at, and none is written."""
        return compile(self._source, self.get_filename(fullname), "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Finds one module, changed."""

    def __init__(self, file: str, source: str | ast.Module) -> None:
        self._name = f"{PACKAGE}.{file.removesuffix('.py')}".removesuffix(".__init__")
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``MetaPathFinder``."""
        if fullname != self._name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        spec.loader = _Loader(fullname, spec.origin, self._source)
        return spec


MEMORY: Final = 2 << 30
"""A core with a defect in it may take so many bytes: it could go on for ever."""


def install(file: str, source: str | ast.Module) -> None:
    """Have a file of the core imported from this text or syntax tree, and bound the memory.

    Raises:
        RuntimeError: the core has been imported already.
    """
    if any(name.startswith("masivo") for name in sys.modules):
        raise RuntimeError("the core has been imported already")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.meta_path.insert(0, _Finder(file, source))
