"""The routes for operations: liveness, readiness, metrics."""

from __future__ import annotations

from contextlib import suppress
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
        self.waits: str | None = "the relay starts"
        """Why the store has not started; None: it has."""

    def routes(self) -> list[Route]:
        """The routes, at the root."""
        return [
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._numbers),
        ]

    async def _problem(self) -> str | None:
        """The reason for which the relay cannot keep events now; None if it can."""
        return self.waits or await self._store.problem()

    async def _health(self, _request: Request) -> Response:
        text = "alive" if self.waits is None else f"alive, but it takes no events: {self.waits}"
        return PlainTextResponse(f"{text}\n")

    async def _ready(self, _request: Request) -> Response:
        problem = await self._problem()
        if problem is None:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"{problem}\n", 503)

    async def _numbers(self, _request: Request) -> Response:
        backlog, problem = None, await self._problem()
        if self.waits is None:
            with suppress(StoreUnreachableError):
                backlog = await self._store.backlog()
        return Response(
            self._metrics.exposed(backlog, ready=problem is None), media_type=CONTENT_TYPE_LATEST
        )
