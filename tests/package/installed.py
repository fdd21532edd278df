"""Install the source archive in a clean environment and test what was installed:
``python -m tests.package.installed dist/masivo-….tar.gz``.

The tests run in a copy from which the package's own folder is gone, so that they see the installed
one and nothing else.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path


def main(archive: Path, options: list[str]) -> int:
    """Install, test; the exit status of the tests."""
    with tempfile.TemporaryDirectory(prefix="masivo-package-") as name:
        folder = Path(name)
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (source,) = folder.iterdir()
        shutil.rmtree(source / "masivo")
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
        subprocess.run([*pip, f"{archive.resolve()}[cli,trio,httpx2]"], check=True)
        subprocess.run([*pip, "--group", f"{source / 'pyproject.toml'}:test"], check=True)
        where = subprocess.run(
            [python, "-c", "import masivo; print(masivo.__file__)"],
            cwd=source,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if not Path(where.strip()).is_relative_to(folder / "venv"):
            raise SystemExit(f"not the installed package would be tested, but {where.strip()}")
        tests = [python, "-m", "pytest", "-n", "auto", "--dist", "worksteal", *options]
        return subprocess.run(tests, cwd=source, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
