"""The shop's views."""

import json
from dataclasses import asdict

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from .tracking import client


@csrf_exempt  # for the example's curl; a page of the shop would send a CSRF token
@require_POST
def add_to_cart(request: HttpRequest) -> JsonResponse:
    """Report an item. Sending never waits, so an ``async def`` view may do the same."""
    item = json.loads(request.body)
    client.send_analytics_event(
        {
            "type": "ADD_TO_CART",
            "customer_id": item["customer_id"],
            "platform": "web",
            "product": {"sku": item["sku"], "amount": item.get("amount", 1)},
        }
    )
    return JsonResponse(item, status=202)


def events(_: HttpRequest) -> JsonResponse:
    """What became of the events of this process."""
    return JsonResponse(asdict(client.stats()))
