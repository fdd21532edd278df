"""Run one storm by hand: its seed, and for how many seconds it lasts."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from relay.storm.storm import Storm


def main() -> None:
    """Run it, and print what came of it."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    with tempfile.TemporaryDirectory() as directory:
        storm = Storm(seed, seconds, Path(directory))
        storm.run()
        print(f"seed {seed}: {storm}")
        storm.check()
        print(f"It keeps what it promises. {storm.late} events without a 200 came late.")


if __name__ == "__main__":
    main()
