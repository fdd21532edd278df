"""Every line of SECURITY.md names the test that holds it; those tests exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(\w+/\w+\.py)::(\w+)`")


def test_every_line_names_its_test() -> None:
    """Each row of the threat model has a test, but for those that are out of scope."""
    model = PAGE.split("## Threat model")[1].split("## Out of scope")[0]
    rows = [line for line in model.splitlines() if line.startswith("| ") and "---" not in line]
    rows = [row for row in rows if not row.startswith("| what they can try")]
    assert len(rows) > 20
    for row in rows:
        assert NAMED.search(row), row


def test_every_named_test_exists() -> None:
    """The tests that are named exist under that name."""
    for path, name in NAMED.findall(PAGE):
        text = (ROOT / "tests" / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{path}::{name}"
