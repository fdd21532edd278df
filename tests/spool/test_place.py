"""The directory: made if it is missing, and refused where others could read or write what is in
it."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from masivo import MasivoConfigError
from masivo.spool import check_place

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_directory_is_made_for_its_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With those above it, whatever the umask; the path is absolute from then on."""
    monkeypatch.chdir(tmp_path)
    former = os.umask(0)
    try:
        place = check_place("var/masivo")
    finally:
        os.umask(former)
    assert place == str(tmp_path / "var" / "masivo")
    assert stat.S_IMODE((tmp_path / "var" / "masivo").stat().st_mode) == 0o700
    assert check_place(tmp_path / "var" / "masivo") == place


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell, which does not see the value of an env file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_place("~/masivo") == str(tmp_path / "masivo")


def test_a_link_is_followed_at_construction(tmp_path: Path) -> None:
    """When it leads elsewhere, the client's removals still reach its log."""
    (tmp_path / "first").mkdir(0o700)
    link = tmp_path / "current"
    link.symlink_to("first")
    assert check_place(link) == str(tmp_path / "first")


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """The message says how to change that."""
    tmp_path.chmod(mode)
    with pytest.raises(MasivoConfigError, match="chmod go-w"):
        check_place(tmp_path)


def test_a_directory_that_others_may_read_is_taken(tmp_path: Path) -> None:
    """Its files are for their user alone all the same."""
    tmp_path.chmod(0o755)
    assert check_place(tmp_path) == str(tmp_path)


def test_a_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events are for nobody else."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(MasivoConfigError, match="another user"):
        check_place(tmp_path)


def test_a_directory_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At construction, not at the first event."""
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:  # root may write all the same, but for a read-only file system
        monkeypatch.setattr(os, "access", cannot)
    with pytest.raises(MasivoConfigError, match="cannot be written"):
        check_place(tmp_path)
    tmp_path.chmod(0o700)


def cannot(_path: str, _mode: int) -> bool:
    """No access at all."""
    return False


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    """A file, or a path through one."""
    path = tmp_path / "file"
    path.write_text("")
    for place in (path, path / "below"):
        with pytest.raises(MasivoConfigError, match="cannot be made"):
            check_place(place)


@pytest.mark.parametrize("system", ["win32", "emscripten"])
def test_other_systems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    """Before anything is made."""
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(MasivoConfigError, match=f"not on {system}"):
        check_place(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
