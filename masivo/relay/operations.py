"""The routes for operations: liveness, readiness, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .store import StoreUnreachableError

if TYPE_CHECKING:
    from starlette.requests import Request

    from .metrics import Metrics
    from .store import RelayStore

__all__ = ["Operations"]


class Operations:
    """The routes for operations.

    Args:
        store: of the relay.
        metrics: of the relay.
    """

    def __init__(self, store: RelayStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def routes(self) -> list[Route]:
        """The routes, at the root."""
        return [
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._numbers),
        ]

    async def _health(self, _request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def _ready(self, _request: Request) -> Response:
        problem = await self._store.problem()
        if problem is None:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"{problem}\n", 503)

    async def _numbers(self, _request: Request) -> Response:
        try:
            backlog = await self._store.backlog()
        except StoreUnreachableError:
            backlog = None
        return Response(self._metrics.exposed(backlog), media_type=CONTENT_TYPE_LATEST)
