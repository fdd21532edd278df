"""A shop on Flask that reports what goes into carts.

Run it: ``gunicorn app:app``, with ``MASIVO_API_KEY`` in the environment.
"""

import os
from dataclasses import asdict

from flask import Flask, request
from flask.typing import ResponseReturnValue

from masivo import Client

client = Client(brand_id=os.environ.get("SHOP_BRAND", "my-brand"))
app = Flask(__name__)


@app.post("/cart")
def add_to_cart() -> ResponseReturnValue:
    """Report an item. Sending never waits."""
    item = request.get_json()
    client.send_analytics_event(
        {
            "type": "ADD_TO_CART",
            "customer_id": item["customer_id"],
            "platform": "web",
            "product": {"sku": item["sku"], "amount": item.get("amount", 1)},
        }
    )
    return item, 202


@app.get("/events")
def events() -> ResponseReturnValue:
    """What became of the events of this process."""
    return asdict(client.stats())
