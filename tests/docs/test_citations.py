"""Every citation leads to a document of the repository, and to an anchor in it."""

from __future__ import annotations

import pytest

from masivo.testing.conformance import SCENARIOS

from .blocks import ROOT
from .citations import anchors, dead, sources, strangers


def test_no_citation_is_dead() -> None:
    """Each page that is cited or linked, and each anchor of it, exists."""
    found = [each for path in sources(".py", ".md") for each in dead(path, path.read_text("utf-8"))]
    assert not found, "\n".join(found)


def test_no_docstring_cites_a_stranger() -> None:
    """No docstring and no comment cites a document that is not in the repository."""
    found = {
        path.relative_to(ROOT).as_posix(): cited
        for path in sources(".py")
        if (cited := strangers(path.read_text("utf-8")))
    }
    assert not found


def test_each_scenario_cites_a_guarantee() -> None:
    """The guarantee that a scenario of the conformance suite proves is on the page."""
    found = [each for scenario in SCENARIOS for each in dead(ROOT, scenario.guarantee)]
    assert not found


def test_each_guarantee_has_one_anchor() -> None:
    """No two headings of the guarantees share an anchor."""
    text = (ROOT / "docs/reference/guarantees.md").read_text("utf-8")
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(anchors(text)) == len(headings) > 50


def test_anchors_of_a_page() -> None:
    """An anchor is made of a heading's words, as the site and GitHub make it; code has none."""
    assert anchors(
        "# A page\n## `on_error`, twice\n### Own {#mine}\n```sh\n# no heading\n```\n"
    ) == {
        "a-page",
        "on_error-twice",
        "mine",
    }


@pytest.mark.parametrize(
    ("page", "anchor", "fault"),
    [
        ("tutorial", "", ""),
        ("reference/guarantees", "#flush", ""),
        ("reference/guarantees", "#no-such-rule", "guarantees.md has no anchor 'no-such-rule'"),
        ("reference/no-such-page", "", "there is no "),
    ],
)
def test_a_dead_citation_is_found(page: str, anchor: str, fault: str) -> None:
    """A page or an anchor that does not exist is named, in code and in the links of a page."""
    code = dead(ROOT / "masivo/protocol.py", f'"""See ``docs/{page}.md{anchor}``."""')
    link = dead(ROOT / "docs/index.md", f"[see]({page}.md{anchor})")
    for found in (code, link):
        assert bool(found) is bool(fault)
        assert fault in "".join(found)


@pytest.mark.parametrize(
    ("cited", "stranger"),
    [
        ("{}.md, at its end", True),
        ("SECURITY.md", False),
        ("{}, section 4", True),
        ("{}, 2-3", True),
        ("the {}'s sections 3 and 4", True),
        ("RFC 9110, section 10.2.3", False),
        ("the {} of a driver", False),
    ],
)
def test_a_stranger_is_found(cited: str, stranger: bool) -> None:
    """A document that is not here is found in a docstring, in an attribute's, and in a comment."""
    words = cited.format("contract")
    for code in (f'"""Such ({words})."""', f'x = 1\n"""Such ({words})."""', f"# Such ({words}).\n"):
        assert bool(strangers(code)) is stranger
