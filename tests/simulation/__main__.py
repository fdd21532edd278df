"""``python -m tests.simulation``: replay a seed, or run many."""

from __future__ import annotations

import sys

from .run import SIMULATOR

if __name__ == "__main__":
    sys.exit(SIMULATOR.main())
