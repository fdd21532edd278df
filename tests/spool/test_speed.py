"""The cost of an append, as a ratio to a bare write of the same bytes in the same run."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING
from zlib import crc32

from masivo.spool.records import CERTAIN, encode

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.spool import Spool

MOST = 3.5
"""The measured ratio is about 2.2; other processes blur it."""

EVENT = b'{"type":"ADD_TO_CART"}' + b"x" * 320
RECORD = encode(CERTAIN, 1, 1.7e9, EVENT)


def test_an_append_costs_little_more_than_its_write(folder: Path, spool: Spool) -> None:
    """In turns, so that both meet the same disturbances: the median of the ratios."""
    fd = os.open(folder.parent / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    spool.append(EVENT, 1.7e9, True)
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(100):
        begun = time.perf_counter()
        for _ in range(200):
            crc32(RECORD)
            os.write(fd, RECORD)
        between = time.perf_counter()
        for _ in range(200):
            spool.append(EVENT, 1.7e9, True)
        bare.append(between - begun)
        ours.append(time.perf_counter() - between)
    os.close(fd)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    print(f"an append costs {ratio:.2f} times a bare write and its CRC-32")
    assert ratio < MOST
