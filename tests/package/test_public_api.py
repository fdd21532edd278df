"""A change of the public interface is never an accident, and never without a changelog entry."""

from __future__ import annotations

import importlib
import pydoc
from difflib import unified_diff
from typing import TYPE_CHECKING

import pytest

from . import public_api

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", public_api.MODULES)
def test_help_shows_a_public_module(name: str) -> None:
    """`help(masivo.protocol)` works: the types in each signature can be evaluated."""
    assert name in pydoc.render_doc(importlib.import_module(name))


def test_the_public_interface_is_as_recorded() -> None:
    """The code's public interface is the recorded one; a change is recorded by `make api`, which
    asks for a line in the changelog."""
    changes = unified_diff(public_api.recorded(), public_api.current(), "recorded", "now", n=0)
    assert not list(changes), "describe the change in CHANGELOG.md, then run `make api`"


def test_a_change_needs_a_changelog_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed interface is recorded only when the changelog has changed since the last time."""
    changelog, record = tmp_path / "CHANGELOG.md", tmp_path / "public_api.txt"
    changelog.write_text("## [Unreleased]\n")
    monkeypatch.setattr(public_api, "CHANGELOG", changelog)
    monkeypatch.setattr(public_api, "RECORD", record)
    interface = ["masivo.first() -> None"]
    monkeypatch.setattr(public_api, "current", lambda: interface)

    assert public_api.record() is None
    assert public_api.recorded() == interface
    assert public_api.record() is None  # nothing has changed

    interface.append("masivo.second() -> None")
    assert "CHANGELOG.md has not" in (public_api.record() or "")
    assert len(public_api.recorded()) == 1

    changelog.write_text("## [Unreleased]\n- `second`\n")
    assert public_api.record() is None
    assert public_api.recorded() == interface


def test_the_record_names_what_matters() -> None:
    """Constructors, methods, fields of values, errors and constants are in the record."""
    record = public_api.recorded()
    for line in (
        "class masivo.MasivoAuthError(MasivoError)",
        "masivo.Stats.delivered: int",
        "masivo.protocol.Engine.poll() -> Output",
    ):
        assert line in record
    for method in ("Client.flush(", "AsyncClient.flush(", "TrioClient.flush(", "Client.__init__("):
        assert any(line.startswith(f"masivo.{method}") for line in record), method
