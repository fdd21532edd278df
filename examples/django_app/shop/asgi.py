"""The shop for ASGI servers, with the lifespan that Django lacks: it closes the client."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django = get_asgi_application()

from .tracking import client  # noqa: E402 (it needs the settings)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Any], Awaitable[None]]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Django, and the server's start and stop."""
    if scope["type"] != "lifespan":
        return await django(scope, receive, send)
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            client.close()  # delivers what is buffered
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return None
