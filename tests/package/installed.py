"""Install the source archive in a clean environment and try what was installed:
``python -m tests.package.installed dist/masivo-….tar.gz``.

The code is that of the checkout, whose tests have run; an archive may lack a file of it, an entry
point, a dependency. So every file is to be there, every module to be imported, and ``TESTS`` run:
those that see a part of the package from outside. They run in a copy from which the package's own
folder is gone, so that they see the installed one and nothing else.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
EXTRAS: Final = "cli,trio,httpx2,relay,opentelemetry"
TOOLS: Final = ("griffe", "pytest")
"""The tests below need no others."""

TESTS: Final = (
    "tests/package/test_public_api.py",
    "tests/drivers/test_imports.py",  # the public names, and what is said without an extra
    "tests/cli/test_program.py",  # the program and its commands
    "tests/emulator/test_inspector.py::test_the_files_of_the_page",  # data files
    "tests/testkit/test_plugin.py::test_tests_are_kept_apart",  # the plugin, found by pytest
    "tests/conformance/test_three_worlds.py::test_transcripts_are_identical",  # each world delivers
    "tests/spool/test_clients.py::test_an_exit_in_an_outage_keeps_the_events",
)

IMPORT: Final = """
import importlib, pkgutil, masivo
for module in pkgutil.walk_packages(masivo.__path__, "masivo."):
    importlib.import_module(module.name)
print(masivo.__path__[0])
"""


def main(archive: Path) -> int:
    """Install, look, test; the exit status of the tests."""
    with tempfile.TemporaryDirectory(prefix="masivo-package-") as name:
        folder = Path(name)
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (source,) = folder.iterdir()
        shutil.rmtree(source / "masivo")
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, f"{archive.resolve()}[{EXTRAS}]", *TOOLS], check=True)
        package = subprocess.run(
            [python, "-c", IMPORT], cwd=source, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
        if not Path(package).is_relative_to(folder / "venv"):
            raise SystemExit(f"not the installed package would be tested, but {package}")
        if missing := files(ROOT / "masivo") - files(Path(package)):
            raise SystemExit(f"not installed: {', '.join(sorted(map(str, missing)))}")
        tests = [python, "-m", "pytest", *TESTS]
        return subprocess.run(tests, cwd=source, check=False).returncode


def files(package: Path) -> set[Path]:
    """The files of a package, but for its bytecode."""
    found = (path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(package) for path in found}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
