"""The page on observability: its examples for Prometheus and Sentry show what a client did."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from docs.blocks import ROOT, Page

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.emulator import Emulator

pytestmark = pytest.mark.full

PAGE = Page(ROOT / "docs/how-to/observability.md")


def shown(test: str) -> str:
    """What is on the page for a test, in its order."""
    return "\n".join(each.code for each in PAGE.blocks if (each.run_by or "").endswith(test))


def run(program: str, folder: Path, emulator: Emulator) -> str:
    """Run a program with an emulator; what it printed."""
    environ = {"MASIVO_BASE_URL": emulator.url, "MASIVO_API_KEY": emulator.client_key}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SCRAPE = """
from prometheus_client import generate_latest

client.send_analytics_event({"type": "VIEW", "customer_id": "c-1", "brand_id": None})
client.flush()
client.send_analytics_event({"type": "VIEW", "customer_id": "c-1", "brand_id": None})
print(generate_latest().decode())
"""


def test_prometheus(tmp_path: Path, emulator: Emulator) -> None:
    """A scrape shows each counter of the client as it is at that moment."""
    (tmp_path / "metrics.py").write_text(
        next(each.code for each in PAGE.blocks if each.title == "metrics.py"), "utf-8"
    )
    said = run(shown("test_prometheus") + SCRAPE, tmp_path, emulator).splitlines()
    for line in (
        "masivo_accepted_total 2.0",
        "masivo_delivered_total 1.0",
        "masivo_requests_total 1.0",
        "masivo_failed_total 0.0",
        "masivo_pending 1.0",
    ):
        assert line in said
    assert any(line.startswith("masivo_oldest_seconds 0.") for line in said)


FAIL = """
from masivo import Client

with Client(base_url="http://127.0.0.1:9/v1", max_retries=0) as unreachable:
    unreachable.send_analytics_event({"type": "VIEW", "customer_id": "c-1", "brand_id": None})
"""


def test_sentry(tmp_path: Path, emulator: Emulator) -> None:
    """Sentry gets the warning about an event that failed, and nothing of the event."""
    program = shown("test_sentry").replace(
        'dsn="…"',
        'dsn="http://key@127.0.0.1:9/1", before_send=lambda event, hint: print(event)',
    )
    assert program.count("print(event)") == 1
    (said,) = run(program + FAIL, tmp_path, emulator).splitlines()
    assert "1 event was not delivered (MasivoNetworkError" in said
    assert "c-1" not in said
