"""The diagrams of the documentation agree with the code."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from .diagrams import DIAGRAMS, IMAGES


@pytest.mark.parametrize("name", DIAGRAMS)
def test_diagram_is_of_today(name: str) -> None:
    """What is drawn now is what ``make docs`` last drew."""
    drawn = DIAGRAMS[name]()
    assert drawn == (IMAGES / name).read_text("utf-8"), "run `make docs`"


@pytest.mark.parametrize("name", DIAGRAMS)
def test_diagram_can_be_read_on_every_page(name: str) -> None:
    """It is well-formed, says in words what it shows, and has a colour for dark pages."""
    text = (IMAGES / name).read_text("utf-8")
    root = ET.fromstring(text)
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text
    assert "prefers-color-scheme:dark" in text


@pytest.mark.parametrize("name", DIAGRAMS)
def test_diagram_is_shown_on_a_code_host_too(name: str) -> None:
    """The page has it as an image, which needs no tool that puts the page together."""
    page = (IMAGES.parent / "explanation" / "state-machine.md").read_text("utf-8")
    assert f"](../images/{name})" in page
