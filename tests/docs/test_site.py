"""What is wrong with a site is found: `make docs` builds ours strictly, and looks for it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from .site import faults

if TYPE_CHECKING:
    from pathlib import Path


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
