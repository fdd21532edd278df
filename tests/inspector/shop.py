"""Real purchases, as events that a shop would send."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[2] / "examples" / "data" / "cdnow_sample.txt"


def events(count: int) -> list[dict[str, object]]:
    """Return the first `count`: each purchase was in a cart before. Starts over at the end."""
    return list(islice(_endless(), count))


def _endless() -> Iterator[dict[str, object]]:
    lines = DATA.read_text(encoding="ascii").splitlines()
    while True:
        for line in lines:
            customer, _, date, amount, value = line.split()
            product = {"sku": "CD", "amount": int(amount), "value": float(value)}
            bought = {"purchased_on": f"{date[:4]}-{date[4:6]}-{date[6:]}"}
            shared = {"customer_id": customer, "brand_id": "cdnow", "product": product}
            yield {"type": "ADD_TO_CART", "platform": "web", **shared}
            yield {"type": "CD_PURCHASE", **shared, "metadata": bought}
