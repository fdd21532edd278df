"""The test kit for unittest, as a program runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from masivo import Client
from masivo.testing.kit import emulated as kit
from masivo.testing.kit import isolation

if TYPE_CHECKING:
    from pathlib import Path

    from masivo import FailedEvent

SHOP = """
from masivo import Client

client = Client(brand_id="my-brand")


def add(customer):
    client.send_analytics_event({"type": "ADD", "customer_id": customer, "platform": "web"})
"""

TESTS = """
import os
import unittest

{imports}


class ShopTest(MasivoTestCase):
    masivo_options = {{"token_ttl": 100.0}}

    def test_an_event(self):
        shop.add("c-1")
        self.masivo_events.expect(type="ADD", customer_id="c-1")
        self.assertEqual(len(self.masivo_events), 1)
        shop.client.flush()
        self.assertEqual(self.masivo_emulator.event_count, 1)

    def test_another_that_sees_nothing_of_the_first(self):
        self.assertEqual(len(self.masivo_events), 0)
        shop.add("c-2")
        self.masivo_events.expect_delivered()
        self.assertEqual(self.masivo_emulator.events[0]["customer_id"], "c-2")

    def test_the_real_api_is_out_of_reach(self):
        with self.assertRaisesRegex(ValueError, "masivo_emulator|this machine"):
            Client(base_url="https://app.masivo.ai/api/storefront/v1")


class TestWithASetUp(MasivoTestCase):
    def setUp(self):
        "Forget super().setUp()."

    def test_the_error_says_so(self):
        with self.assertRaisesRegex(AttributeError, "must call super.*setUp"):
            self.masivo_events
        with self.assertRaisesRegex(AttributeError, "virtual time needs pytest"):
            self.masivo_clock


if __name__ == "__main__":
    unittest.main()
"""

FIRST = "from masivo.testing import MasivoTestCase\nfrom masivo import Client\nimport shop"
LAST = "import shop\nfrom masivo import Client\nfrom masivo.testing import MasivoTestCase"


QUICK = "-p no:cacheprovider -p no:asyncio -p no:trio -p no:anyio -p no:hypothesispytest"


@pytest.mark.parametrize(
    ("imports", "shell", "runner"),
    [
        (FIRST, {}, "unittest"),
        pytest.param(FIRST, {}, "pytest", marks=pytest.mark.full),
        pytest.param(LAST, {"MASIVO_API_KEY": "a-real-key"}, "unittest", marks=pytest.mark.full),
        (LAST, {"MASIVO_API_KEY": "a-real-key"}, "pytest"),
    ],
)
def test_each_test_has_an_api(
    tmp_path: Path, imports: str, shell: dict[str, str], runner: str
) -> None:
    """The application's client, whenever it was made, uses the test's emulator, and no test sees
    anything of another, under unittest and under pytest."""
    (tmp_path / "shop.py").write_text(SHOP, "utf-8")
    (tmp_path / "test_shop.py").write_text(TESTS.format(imports=imports), "utf-8")
    environ = {name: value for name, value in os.environ.items() if "MASIVO" not in name}
    done = subprocess.run(
        [sys.executable, "-m", runner, "test_shop.py"],
        cwd=tmp_path,
        env=environ | shell | {"PYTEST_ADDOPTS": QUICK},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 4 tests" in done.stderr or "4 passed" in done.stdout


def test_no_thread_outlives_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``MasivoTestCase`` ends when its clients' threads have ended, which a call of ``on_error``
    may delay: else they would go on in the next test."""
    late = threading.Event()

    def join_workers() -> None:
        late.set()
        isolation.join_workers()

    monkeypatch.setattr(kit, "join_workers", join_workers)
    try:
        with kit.emulated({}) as (emulator, _):
            emulator.fail(403, route="events")
            told = threading.Event()

            def on_error(_failure: FailedEvent) -> None:
                told.set()
                late.wait()

            client = Client(batch_size=1, on_error=on_error)
            client.send_analytics_event({"type": "A", "customer_id": "c", "brand_id": None})
            assert told.wait(10)
        assert not [each for each in threading.enumerate() if each.name == "masivo"]
    finally:
        late.set()


@pytest.mark.parametrize(
    ("name", "meant"), [("quota", "daily_quota"), ("dailyquota", "daily_quota"), ("colour", None)]
)
def test_an_option_that_the_emulator_does_not_have(name: str, meant: str | None) -> None:
    """The error names the one that may be meant, and all of them."""
    with pytest.raises(TypeError) as caught, kit.emulated({name: 1}):
        pass
    said = str(caught.value)
    assert "Its options are: host, port, client_key" in said
    assert (f"did you mean {meant!r}? " in said) == (meant is not None)
