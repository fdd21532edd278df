"""Every Python and shell example in the README and the documentation runs as it stands there."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Emulator

from .blocks import LANGUAGES, ROOT, Block, Page, pages
from .reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

PAGES = pages()
NOT_RUN = [(page, block) for page in PAGES for block in page.blocks if block.not_run is not None]
RUN_BY = sorted(
    {(page.name, page.marks["run by"]) for page in PAGES if "run by" in page.marks}
    | {(page.name, block.run_by) for page in PAGES for block in page.blocks if block.run_by}
)


def each_page() -> list[object]:
    """The pages that have something to be run; those that need more than the normal tests have
    are ``full``."""
    return [
        pytest.param(page, id=page.name, marks=[pytest.mark.full] if "full" in page.marks else [])
        for page in PAGES
        if "run by" not in page.marks and page.to_run()
    ]


@pytest.mark.parametrize("page", each_page())
def test_page_runs(page: Page, tmp_path: Path) -> None:
    """Whoever follows the page from top to bottom gets what it shows."""
    with Emulator() as emulator:
        known = {"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": emulator.url}
        own = "from nothing" in page.marks
        if own:
            known = {}
        arrived = None if own else lambda: emulator.event_count
        with Reader(page, tmp_path, known, arrived) as reader:
            reader.follow()


@pytest.mark.parametrize(
    ("page", "block"), NOT_RUN, ids=[f"{page.name}:{block.line}" for page, block in NOT_RUN]
)
def test_what_is_not_run(page: Page, block: Block) -> None:
    """A block that is only shown says why, and names no test that is not there; each is counted,
    as a skipped test."""
    assert block.not_run, "give a reason"
    for named in re.findall(r"\btests/[\w/.:]+", block.not_run):
        assert_there(named, page.name)
    pytest.skip(f"{page.name}:{block.line}: {block.not_run}")


@pytest.mark.parametrize(("page", "others"), RUN_BY)
def test_what_is_run_by_others(page: str, others: str) -> None:
    """Who is said to run a page, or a block of it, exists, and names the page."""
    assert_there(others, page)


def assert_there(name: str, page: str) -> None:
    """A file of tests, or one of them (``FILE::TEST``), exists, and the file names the page."""
    file, _, test = name.partition("::")
    text = (ROOT / file).read_text("utf-8")
    assert PurePath(page).stem in text
    assert not test or f"\ndef {test}(" in text


def test_no_block_escapes() -> None:
    """Every fence is of a known language, and is read as a block."""
    for page in PAGES:
        assert {block.language for block in page.blocks} <= LANGUAGES.keys(), page
        assert page.text.count("```") == 2 * len(page.blocks), page
