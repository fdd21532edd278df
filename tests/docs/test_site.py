"""The documentation builds strictly, and its site is whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import ROOT
from .site import faults


@pytest.mark.full
def test_the_site_builds(tmp_path: Path) -> None:
    """No broken link or anchor, no missing reference, no page outside the navigation, nothing asked
    of another host."""
    for name in ("README.md", "zensical.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "examples", "masivo", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name)
    done = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "site" / "index.html").is_file()
    assert faults(tmp_path / "site") == []


def site(folder: Path, **pages: str) -> Path:
    """A small site with these pages."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f'<a href="b.html">b</a>{body}', "utf-8")
    return folder


def test_faults_of_a_site_are_found(tmp_path: Path) -> None:
    """The check names each kind of fault, and nothing else."""
    folder = tmp_path / "site"
    b = '<h1 id="top">b</h1>'
    assert faults(site(folder, index='<a href="b.html#top"></a>', b=b)) == []
    for body, fault in {
        '<a href="c.html">': "index.html: nothing is at c.html",
        '<a href="b.html#nope">': "index.html: no such anchor: b.html#nope",
        '<img src="missing.svg">': "index.html: nothing is at missing.svg",
        '<script src="https://cdn.example/x.js">': "index.html: loads https://cdn.example/x.js",
        '<link rel="stylesheet" href="//x.example/y.css">': "index.html: loads //x.example/y.css",
        '<p style="background: url(https://x.example/z.png)">': (
            "index.html: loads https://x.example/z.png"
        ),
    }.items():
        assert faults(site(folder, index=body, b=b)) == [fault]
    assert faults(site(folder, index="", b=b, c="")) == ["c.html: not in the navigation"]
