"""Real servers for the tests of the relay's stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for all tests of a module."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """An empty server."""
    shared_redis.call("FLUSHALL")
    return shared_redis
