"""An extension of griffe, which reads the docstrings for the site: some are put together at run
time (``Client.__doc__`` is its own beginning and the arguments that all clients share)."""

from __future__ import annotations

import inspect
from typing import Any

import griffe

__all__ = ["RuntimeDocstrings"]


class RuntimeDocstrings(griffe.Extension):
    """Takes the docstring of a class from the running code where a decorator completes it."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called by griffe for each class once it has its members."""
        if any(str(each.value) == "documented" for each in cls.decorators):
            text = inspect.getdoc(griffe.dynamic_import(cls.path))
            cls.docstring = griffe.Docstring(
                text or "", parent=cls, lineno=cls.lineno, parser=griffe.Parser.google
            )
