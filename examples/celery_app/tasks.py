"""A shop's background tasks on Celery that report what customers did.

Run them: ``celery -A tasks worker``, with ``MASIVO_API_KEY`` in the environment.
"""

import os
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_shutdown

from masivo import Client, MasivoError

app = Celery("shop", broker=os.environ.get("BROKER_URL", "filesystem://"))
if "BROKER_URL" not in os.environ:  # for a trial: a folder instead of a broker
    Path("queue").mkdir(exist_ok=True)
    folders = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), "queue")
    app.conf.broker_transport_options = folders

client = Client(brand_id=os.environ.get("SHOP_BRAND", "my-brand"))


@worker_process_shutdown.connect
def close_client(**_: object) -> None:
    """Deliver what is buffered when a prefork worker ends, as it runs no exit handler."""
    client.close()


@app.task
def add_to_cart(customer_id: str, sku: str) -> None:
    """Report an item. The event is sent later, with a batch."""
    client.send_analytics_event(
        {
            "type": "ADD_TO_CART",
            "customer_id": customer_id,
            "platform": "web",
            "product": {"sku": sku, "amount": 1},
        }
    )


@app.task(acks_late=True)
def empty_cart(customer_id: str) -> int:
    """Report, and return the status of the response once the API has the event."""
    delivery = client.send_analytics_event(
        {"type": "EMPTY_CART", "customer_id": customer_id, "platform": "web"}
    )
    client.flush()
    try:
        return delivery.result().status
    except MasivoError as error:
        if not error.retryable:  # rejected, perhaps accepted, or kept in a spool
            raise
        raise empty_cart.retry(exc=error, countdown=2**empty_cart.request.retries) from error
