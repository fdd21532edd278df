"""Tests of the shop: ``python manage.py test``."""

from unittest import mock

from django.test import SimpleTestCase

from masivo import Client
from masivo.emulator import Emulator

from . import views


class CartTest(SimpleTestCase):
    """Each test has an API of its own, and a client for it where the views look for one."""

    def setUp(self) -> None:
        """Start the API, and replace the views' client."""
        self.api = self.enterContext(Emulator())
        key, url = self.api.client_key, self.api.url
        self.masivo = self.enterContext(Client(key, base_url=url, brand_id="my-brand"))
        self.enterContext(mock.patch.object(views, "client", self.masivo))

    def test_a_cart_is_reported(self) -> None:
        """The event has arrived after a flush."""
        item = {"customer_id": "customer-1", "sku": "SKU-1"}
        self.client.post("/cart", item, content_type="application/json")
        self.assertEqual(self.masivo.flush().delivered, 1)
        self.assertEqual(self.api.events[0]["product"], {"sku": "SKU-1", "amount": 1})

    def test_an_outage(self) -> None:
        """A batch that the API does not take is sent again."""
        self.api.fail(503, route="events")
        item = {"customer_id": "customer-1", "sku": "SKU-1"}
        self.client.post("/cart", item, content_type="application/json")
        self.assertEqual(self.masivo.flush().delivered, 1)
        self.assertEqual([batch.status for batch in self.api.batches], [503, 200])
