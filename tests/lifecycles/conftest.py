"""A way to run one program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from .programs import Program, running, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from masivo.emulator import Emulator


class Run(Protocol):
    """Runs one program to its end."""

    def __call__(
        self,
        text: str,
        *,
        first: str = "",
        meanwhile: Callable[[Program], object] | None = None,
        base_url: str | None = None,
        code: int | None = 0,
    ) -> str:
        """Run it; what it said. ``first`` comes before all imports; ``meanwhile`` is called once
        it runs."""
        ...


@pytest.fixture
def run(tmp_path: Path, emulator: Emulator) -> Run:
    """Runs a program beside the emulator."""

    def run(
        text: str,
        *,
        first: str = "",
        meanwhile: Callable[[Program], object] | None = None,
        base_url: str | None = None,
        code: int | None = 0,
    ) -> str:
        write(tmp_path, {"program.py": text}, first)
        with running(tmp_path, emulator, "program.py", base_url=base_url) as program:
            if meanwhile is not None:
                meanwhile(program)
            return program.ends(code)

    return run
