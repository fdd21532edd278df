"""Tests of the shop: ``python manage.py test``."""

from django.test import SimpleTestCase

from masivo.testing import MasivoTestCase

from .tracking import client

ITEM = {"customer_id": "customer-1", "sku": "SKU-1"}


class CartTest(MasivoTestCase, SimpleTestCase):
    """Each test has an API of its own, which the shop's client uses."""

    def test_a_cart_is_reported(self) -> None:
        """An event counts as sent when the view has returned."""
        self.client.post("/cart", ITEM, content_type="application/json")
        self.masivo_events.expect(type="ADD_TO_CART", product={"sku": "SKU-1", "amount": 1})

    def test_an_outage(self) -> None:
        """A batch to which the API responds 503 is sent again."""
        self.masivo_emulator.fail(503, route="events")
        self.client.post("/cart", ITEM, content_type="application/json")
        client.flush()
        self.assertEqual([batch.status for batch in self.masivo_emulator.batches], [503, 200])
