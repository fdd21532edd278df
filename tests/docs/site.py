"""Check the built site: ``python -m tests.docs.site site`` (part of ``make docs``).

Every link, anchor, picture and script leads to a file of the site, every page can be reached from
the navigation, and reading it asks no other host for anything.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

__all__ = ["faults"]

# Links of a page that the reader's browser follows by itself, not at a click.
LOADED = {"img", "script", "link", "iframe", "source", "object", "embed", "video", "audio", "track"}

_CSS_URL = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


class Page(HTMLParser):
    """What one page links to, and where it can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag refers to."""
        values = {name: value for name, value in attrs if value is not None}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "link" and values.get("rel") in ("canonical", "alternate"):
            return  # for search engines
        for name in ("href", "src", "data", "poster", "xlink:href"):
            if name in values:
                (self.loaded if tag in LOADED else self.links).append(values[name])
        for each in values.get("srcset", "").split(","):
            self.loaded += each.split()[:1]
        self.loaded += css_urls(values.get("style", ""))


def css_urls(text: str) -> list[str]:
    """What a style sheet loads."""
    return [one or two for one, two in _CSS_URL.findall(text)]


def faults(site: Path) -> list[str]:
    """What is wrong with a built site, a line each."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    found: list[str] = []
    reached: set[Path] = {site / "404.html", site / "index.html"}
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links begin at the root of wherever the site is put
        where = path.relative_to(site)
        for link in page.loaded:
            if urlsplit(link).scheme not in ("", "data") or link.startswith("//"):
                found.append(f"{where}: loads {link}")
        for link in page.links + page.loaded:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            address, anchor = urldefrag(link)
            target = (path.parent / unquote(address)).resolve() if address else path
            if not target.is_file():
                found.append(f"{where}: nothing is at {link}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                found.append(f"{where}: no such anchor: {link}")
            if path == site / "index.html":
                reached.add(target)
    for sheet in sorted(site.rglob("*.css")):
        for link in css_urls(sheet.read_text("utf-8")):
            if not link.startswith(("data:", "#")) and not (sheet.parent / link).is_file():
                found.append(f"{sheet.relative_to(site)}: loads {link}")
    found += [
        f"{path.relative_to(site)}: not in the navigation" for path in pages if path not in reached
    ]
    return found


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    site = Path(sys.argv[1]).resolve()
    if not (site / "index.html").is_file():
        print(f"{site} holds no site")
        return 1
    found = faults(site)
    print("\n".join(found) or "every link leads somewhere, and nothing is asked of another host")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
