"""The texts in the core's tables change on purpose only."""

from __future__ import annotations

from difflib import unified_diff

from . import words


def test_the_texts_are_as_recorded() -> None:
    """Every row of a table says what ``words.txt`` shows; `make words` records a change."""
    changes = unified_diff(words.recorded(), words.current(), "recorded", "now", n=0, lineterm="")
    assert not [*changes], "read the new texts, then run `make words`"
