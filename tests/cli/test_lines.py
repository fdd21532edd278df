"""The lines of an input, and where it breaks off."""

from __future__ import annotations

import errno
import io
import os
import zlib

import pytest

from masivo.cli.importing.lines import DamagedInputError, Lines


class _Damaged(io.BufferedReader):
    """Breaks off after its first line."""

    def __init__(self, error: Exception) -> None:
        super().__init__(io.BytesIO(b"one\n"))
        self._error = error

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line:
            raise self._error
        return line


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (EOFError("it ended too early"), "it ended too early"),
        (zlib.error("invalid block type"), "invalid block type"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "invalid start byte"),
    ],
)
def test_it_says_after_which_line_it_breaks_off(error: Exception, reason: str) -> None:
    """And the reason in words, without a number of the system's."""
    with io.FileIO(os.devnull) as raw:
        lines = Lines(_Damaged(error), raw, None)
        assert next(lines) == b"one\n"
        with pytest.raises(DamagedInputError) as caught:
            next(lines)
    assert str(caught.value) == f"cannot read on after line 1: {reason}"
