"""What the pages say of installing, done as it stands there, with the wheel that ``make package``
has built: it alone runs these tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

import pytest

from .blocks import ROOT, Page
from .reader import STAND_INS, Reader

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.emulator import Emulator

pytestmark = pytest.mark.package

HERE = "tests/docs/test_install.py"
PAGES = [
    Page(ROOT / name)
    for name in (
        "README.md",
        "docs/index.md",
        "docs/how-to/install.md",
        "docs/how-to/bulk-import.md",
        "docs/how-to/run-a-relay.md",
    )
]
INSTALLS = [
    (page, text)
    for page in PAGES
    for block in page.blocks
    if block.run_by == f"{HERE}::test_each_installs_what_it_says"
    # The lines of the page on installing are a choice.
    for text in (block.code.splitlines() if "install" in page.name else [block.code])
]
PROMISED = {
    "masivo": "python -c 'import masivo; masivo.AsyncClient(); masivo.Client().get_token()'",
    "masivo[trio]": "python -c 'import masivo, trio; masivo.TrioClient()'",
    "masivo[cli]": "masivo check",
    "masivo[relay]": """
masivo relay --help
python -c 'import masivo.relay.service, masivo.relay.on_redis'
""",
    "masivo[socks]": """ALL_PROXY=socks5://127.0.0.1:9 python -c '
import masivo
masivo.Client(base_url="https://masivo.invalid/v1")
'""",
    "masivo[opentelemetry]": """python -c '
import masivo, masivo.opentelemetry
masivo.opentelemetry.instrument(masivo.Client())
'""",
    "masivo[httpx2]": """python -c '
import httpx2, masivo
masivo.Client(http_client=httpx2.Client()).get_token()
'""",
}
"""What can be done where this has been installed."""

SOURCE = """python -c '
from importlib.metadata import distribution
print(distribution("masivo").read_text("direct_url.json"))
'"""


@pytest.fixture
def wheel() -> Path:
    """The one that was built."""
    (found,) = (ROOT / "dist").glob("masivo-*.whl")
    return found


@pytest.fixture
def environ(wheel: Path, tmp_path: Path) -> dict[str, str]:
    """A new virtual environment, the first in PATH, for which ``masivo`` is the wheel that was
    built, whatever an index has of that name. Where all else comes from is as pip is set up."""
    venv.create(tmp_path / "new")
    # The pip that comes with Python 3.11 may be too old for the constraint of a name with extras.
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "new"), "install", "--quiet"]
    subprocess.run([*pip, "pip>=25.1"], check=True)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(f"masivo @ {wheel.as_uri()}\n", "utf-8")
    return {
        "PATH": os.pathsep.join(
            [str(tmp_path / "new" / "bin"), os.environ["PATH"], str(STAND_INS)]
        ),
        "PIP_CONSTRAINT": constraints.as_uri(),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("page", "text"), INSTALLS, ids=str)
def test_each_installs_what_it_says(
    page: Page, text: str, environ: dict[str, str], folder: Path, wheel: Path, emulator: Emulator
) -> None:
    """Whoever types it in a new environment has what it promises."""
    environ |= {"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": emulator.url}
    match = re.match(r"pip install '?([\w\[\]]+)'?", text)
    assert match is not None, text
    with Reader(page, folder, environ, None) as reader:
        reader.types(text)
        assert wheel.as_uri() in reader.types(SOURCE)
        reader.types(PROMISED[match[1]])


@pytest.mark.parametrize("name", ["docs/tutorial.md", "docs/how-to/trio.md"])
def test_page_runs_with_what_it_installs(
    name: str, environ: dict[str, str], folder: Path, wheel: Path, emulator: Emulator
) -> None:
    """Whoever follows the page needs nothing that it does not say how to install."""
    page = Page(ROOT / name)
    own = "from nothing" in page.marks
    if not own:
        environ |= {"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": emulator.url}
    with Reader(page, folder, environ, None if own else lambda: emulator.event_count) as reader:
        reader.follow(f"{HERE}::test_page_runs_with_what_it_installs")
        assert wheel.as_uri() in reader.types(SOURCE)
