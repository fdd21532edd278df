"""The pages for frameworks show the applications as they are, and all that is in them of ours."""

from __future__ import annotations

import re

import pytest
from lifecycles.recipes import APPS, PAGES, ROOT, asking, blocks, commands


@pytest.mark.parametrize("page", APPS)
def test_code_on_the_page_is_the_application_s(page: str) -> None:
    """Each piece of Python stands in the file that is named above it, letter by letter."""
    shown = [(info, code) for info, code in blocks(page) if info != "sh"]
    assert shown
    for info, code in shown:
        match = re.fullmatch(r'py title="(examples/.*)"', info)
        assert match is not None, info
        assert code in (ROOT / match[1]).read_text("utf-8"), code


@pytest.mark.parametrize("page", APPS)
def test_every_use_of_the_client_is_on_the_page(page: str) -> None:
    """No line of the application that uses the package is missing on the page, but imports."""
    shown = "".join(code for _, code in blocks(page))
    for file in APPS[page].rglob("*.py"):
        for line in file.read_text("utf-8").splitlines():
            if re.search(r"\b(client|masivo|\w*Client)[.(]\w", line) and "import" not in line:
                assert line in shown, (file, line)


@pytest.mark.parametrize("page", APPS)
def test_every_command_is_started_by_a_test(page: str) -> None:
    """Every command on the page is one that the lifecycles start; those that ask the application
    they take from the page."""
    lifecycles = (ROOT / "tests" / "lifecycles" / "test_recipes.py").read_text("utf-8")
    lifecycles = lifecycles.replace(
        'f"{GUNICORN}', '"gunicorn app:app --bind 127.0.0.1:8000 --workers 2'
    )
    assert asking(page)
    for command in commands(page):
        assert command in asking(page) or command in lifecycles, command


@pytest.mark.parametrize("page", APPS)
def test_files_that_the_page_names_exist(page: str) -> None:
    """What the page names of the examples is there, the application's folder first."""
    named = re.findall(r"`(examples/[^`]+)`", (PAGES / f"{page}.md").read_text("utf-8"))
    assert named
    assert ROOT / named[0] == APPS[page]
    for name in named:
        assert (ROOT / name).exists(), name
