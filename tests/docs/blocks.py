"""The code blocks of a page, and the marks that say what is to be done with them.

A mark is an HTML comment above a block; readers of the page do not see it:

``<!-- not run: REASON -->``
    The block is shown only. The tests report it as skipped, with the reason.
``<!-- run by: FILE::TEST -->``
    A test of its own runs the block, from its text on the page: it needs files, a key, or an
    environment that the page does not make.
``<!-- server: NAME -->``
    A ``console`` block starts a server, which goes on until the end of the page, or until a block
    of the same name that begins with ``^C``. An ``output`` block is what it has said since.

Marks for the whole page, anywhere in it but above a block:

``<!-- parts of: FILE … -->``
    A Python block that stands in one of these files, word for word, is a part of it, and is not
    run by itself: the tests of the file run it. The reader has the files.
``<!-- run by: FILE -->``
    A test of its own runs the examples of the page, as they need an environment of their own.
``<!-- full: REASON -->``
    The page needs more than the normal tests have: it is run by ``make test-all``.
``<!-- from nothing -->``
    No emulator runs, and no key is set, before the page's own blocks see to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LANGUAGES", "ROOT", "Block", "Page", "pages"]

ROOT = Path(__file__).parent.parent.parent

LANGUAGES = {
    "python": "a program; with a title a file",
    "py": "the same",
    "sh": "commands that must succeed",
    "console": "commands after '$ ', each followed by what it prints",
    "output": "what the block before prints",
    "ini": "a file, if it has a title",
    "toml": "a file, if it has a title",
    "js": "shown",
    "csv": "shown",
    "json": "shown",
    "text": "shown",
}

_FENCE = re.compile(
    r"(?P<marks>(?:^[ ]*<!--[^>]*-->\s*\n\s*)*)"
    r"^(?P<indent>[ ]*)```(?P<language>\S*)(?:[ ]+title=\"(?P<title>[^\"]+)\")?[ ]*\n"
    r"(?P<code>.*?)"
    r"^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"<!--\s*(not run|server|parts of|run by|full|from nothing)(?::\s*(.*?))?\s*-->")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    line: int
    """The line of its fence in the page, from 1."""
    language: str
    """One of LANGUAGES."""
    title: str | None
    """The file that it is."""
    code: str
    """Its text, without the indentation of the list that it may stand in."""
    not_run: str | None
    """Why it is only shown."""
    run_by: str | None
    """The test of its own that runs it."""
    server: str | None
    """The server that it starts or watches."""


class Page:
    """A Markdown page."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(ROOT).as_posix()
        self.text = path.read_text("utf-8")
        self.marks = dict(_MARK.findall(_FENCE.sub("", self.text)))
        self.files = {
            Path(each).name: (ROOT / each).read_text("utf-8")
            for each in self.marks.get("parts of", "").split()
        }
        """The files that it shows parts of, by their names."""
        self.blocks = [self._block(match) for match in _FENCE.finditer(self.text)]

    def _block(self, match: re.Match[str]) -> Block:
        marks = dict(_MARK.findall(match["marks"]))
        return Block(
            line=self.text.count("\n", 0, match.start("indent")) + 1,
            language=match["language"],
            title=match["title"],
            code=re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE),
            not_run=marks.get("not run"),
            run_by=marks.get("run by"),
            server=marks.get("server"),
        )

    def __repr__(self) -> str:
        return self.name

    def is_part(self, block: Block) -> bool:
        """Whether a block is a piece of one of the files that the page shows."""
        return any(block.code in source for source in self.files.values())

    def to_run(self, by: str | None = None) -> list[Block]:
        """The blocks that a reader runs as they come, with those of a test that runs its own."""
        return [
            block
            for block in self.blocks
            if block.run_by in (None, by) and block.not_run is None and not self.is_part(block)
        ]


def pages() -> list[Page]:
    """Every page of the documentation, the README first."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(path) for path in found]
