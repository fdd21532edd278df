"""The citations of documents in the code and the pages.

A document is cited by its path from the root of the repository, a rule by the anchor of its
heading: ``docs/reference/guarantees.md#flush``.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from typing import TYPE_CHECKING

from .blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["anchors", "dead", "sources", "strangers"]

_FOLDERS = ("masivo", "tests", "examples", "benchmarks", "docs")

_HEADING = re.compile(r"^#{1,6} +(.+?)(?: +\{#([\w-]+)\})? *$", re.MULTILINE)
_FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_CITED = re.compile(r"(?<![\w/])(docs/[\w./-]+\.md)(?:#([\w-]*\w))?")
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
_DOCUMENT = re.compile(r"(?<![\w./-])[\w./-]*\w\.md\b")
_SECTION = re.compile(
    r"\b(contract|README)(?:'s)?,?\s+\(?(?:sections?\s+)?\d|(\w+\s\d+,\s+)?\bsection\s+\d"
)

_HINT = re.compile(r"\.md\b|\b(?:section|contract|README)")
"""In all code that is worth taking apart, which takes a hundred times as long."""


def anchors(text: str) -> set[str]:
    """The anchors of a page: of each heading its own, else the one that both the site and GitHub
    make of its words."""
    found: set[str] = set()
    for words, own in _HEADING.findall(_FENCED.sub("", text)):
        plain = re.sub(r"[^\w\s-]", "", words).strip().lower()
        found.add(own or re.sub(r"[-\s]+", "-", plain))
    return found


@cache
def _anchors_of(path: Path) -> set[str]:
    return anchors(path.read_text("utf-8"))


def sources(*kinds: str) -> list[Path]:
    """The files of the repository with these suffixes."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in _FOLDERS:
        found += (ROOT / folder).rglob("*")
    return sorted(path for path in found if path.suffix in kinds)


def dead(path: Path, text: str) -> list[str]:
    """The citations in a file that lead nowhere, a line each."""
    cited = [(ROOT / page, anchor) for page, anchor in _CITED.findall(text)]
    if path.suffix == ".md":
        links = _LINK.findall(_FENCED.sub("", text))
        cited += [((path.parent / page) if page else path, anchor) for page, anchor in links]
    found: list[str] = []
    for target, anchor in cited:
        if not target.exists():
            found.append(f"{path.name}: there is no {target}")
        elif anchor and target.suffix == ".md" and anchor not in _anchors_of(target.resolve()):
            found.append(f"{path.name}: {target.name} has no anchor {anchor!r}")
    return found


def strangers(text: str) -> list[str]:
    """The documents that are cited in the docstrings and comments of Python code, and that are not
    in the repository, or cited by a number of theirs that changes."""
    found: list[str] = []
    if not _HINT.search(text):
        return found
    for words in _prose(text):
        found += [each for each in _DOCUMENT.findall(words) if not (ROOT / each).is_file()]
        for match in _SECTION.finditer(" ".join(words.split())):
            if not (match[2] or "").startswith("RFC "):
                found.append(match[0])
    return found


def _prose(text: str) -> Iterator[str]:
    """The comments, and the strings that are statements: docstrings, of attributes too."""
    if any(_HINT.search(line.partition("#")[2]) for line in text.splitlines()):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.string
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(ast.Constant(str(words))):
                yield words
            case _:
                pass
