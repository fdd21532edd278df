"""Tests of the shop: ``python -m pytest``."""

import httpx
import pytest
from app import app, lifespan, masivo_client
from fastapi.testclient import TestClient

from masivo.emulator import Emulator
from masivo.testing import MasivoClock, MasivoEvents

ITEM = {"customer_id": "customer-1", "sku": "SKU-1"}


def test_a_cart_is_reported(masivo_events: MasivoEvents) -> None:
    """An event counts as sent when the route has returned."""
    with TestClient(app) as http:  # with: it runs the lifespan, which makes the client
        assert http.post("/cart", json=ITEM).status_code == 202
        masivo_events.expect(type="ADD_TO_CART", product={"sku": "SKU-1"})


def test_an_outage(masivo_emulator: Emulator) -> None:
    """Leaving the block ends the lifespan, which delivers the events."""
    masivo_emulator.fail(503, route="events")
    with TestClient(app) as http:
        http.post("/cart", json=ITEM)
    assert [batch.status for batch in masivo_emulator.batches] == [503, 200]


def test_a_batch_is_sent_after_30_seconds(
    masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """The application's loop runs in another thread, so the test may advance the clock."""
    with TestClient(app) as http:
        http.post("/cart", json=ITEM)
        masivo_clock.advance(30)
        assert masivo_emulator.event_count == 1


def test_carts_are_delivered(masivo_events: MasivoEvents) -> None:
    """The flush runs in the application's loop, to which the client belongs."""
    with TestClient(app) as http:
        http.post("/cart", json=ITEM)
        assert http.portal is not None
        http.portal.call(masivo_events.aexpect_delivered)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_an_async_test(masivo_events: MasivoEvents) -> None:
    """httpx neither runs the lifespan nor passes its state, so the test does."""
    async with lifespan(app) as state:
        app.dependency_overrides[masivo_client] = lambda: state["masivo"]
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
            assert (await http.post("/cart", json=ITEM)).status_code == 202
        await masivo_events.aexpect_delivered()
    app.dependency_overrides.clear()
