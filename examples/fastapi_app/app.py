"""A shop's API on FastAPI that reports what goes into carts.

Run it: ``uvicorn app:app``, with ``MASIVO_API_KEY`` in the environment.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel

from masivo import AsyncClient, Stats


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, AsyncClient], None]:
    """One client for as long as the application runs; leaving the block delivers its events."""
    async with AsyncClient(brand_id=os.environ.get("SHOP_BRAND", "my-brand")) as client:
        yield {"masivo": client}


app = FastAPI(lifespan=lifespan)


def masivo_client(request: Request) -> AsyncClient:
    """The application's client, for routes."""
    client: AsyncClient = request.state.masivo
    return client


Masivo = Annotated[AsyncClient, Depends(masivo_client)]


class CartItem(BaseModel):
    """What a customer puts into the cart."""

    customer_id: str
    sku: str
    amount: int = 1


@app.post("/cart", status_code=202)
async def add_to_cart(item: CartItem, masivo: Masivo) -> CartItem:
    """Report an item. Sending never waits: no ``await``."""
    masivo.send_analytics_event(
        {
            "type": "ADD_TO_CART",
            "customer_id": item.customer_id,
            "platform": "web",
            "product": {"sku": item.sku, "amount": item.amount},
        }
    )
    return item


@app.get("/events")
async def events(masivo: Masivo) -> Stats:
    """What became of the events of this process."""
    return masivo.stats()
