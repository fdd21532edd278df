"""The embedded store, for one machine: a client with a spool
(``docs/reference/guarantees.md#events-on-disk``).

Events go from the intake into the client's buffer and onto the disk in one step. ``secret`` is
kept beside them.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from masivo import AsyncClient, MasivoClosedError
from masivo.protocol import StoreError
from masivo.spool.survey import SECRET, Survey

from .remembered import Remembered
from .store import (
    Backlog,
    Kept,
    RelayError,
    StoreFullError,
    StoreUnreachableError,
)
from .upstream import learn_time

if TYPE_CHECKING:
    from typing import Unpack

    from masivo.protocol import Buffer, ClientOptions, Secret, Settings, Store

    from .metrics import Metrics
    from .store import Batch

__all__ = ["SpoolStore"]

IN_FLIGHT: Final = 8
"""Concurrent batches; a spool keeps order for each customer."""
FULL: Final = 10.0
"""For this many seconds after a batch found no room, ``problem`` reports that the store is full."""
RECOUNT: Final = 60.0
"""Seconds after which dead letters are counted again: old ones may have been deleted."""
WRITTEN: Final = 1.0
"""Seconds after which a rejected event is surely among the dead letters."""
_SECRET_BYTES: Final = 32


class _Client(AsyncClient):
    """A client whose buffer takes events that are encoded already."""

    # A note or a removal takes no longer than what the intake appends in the loop.
    _writes_in_polls = True
    store: Store

    def __init__(self, key: str, *, replaced_key: bool, **options: Unpack[ClientOptions]) -> None:
        self._spool_options = {"replaced_key": replaced_key}
        super().__init__(key, **options)

    def _store(self) -> Store | None:
        store = super()._store()
        assert store is not None  # noqa: S101 (the option is given below)
        self.store = store
        return store

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self._settings

    @property
    def buffer(self) -> Buffer:
        """Its buffer, in the running loop."""
        return self._bound()


class SpoolStore:
    """See RelayStore.

    Args:
        place: the directory of the spool.
        api_key: of the upstream.
        metrics: the relay's; ``on_activity`` is to be its ``listen``.
        replaced_key: True to deliver events of other keys of the same address, too.
        options: of the client.

    Raises:
        MasivoConfigError: an option is wrong, or the directory cannot be used.
    """

    def __init__(
        self,
        place: str,
        api_key: Secret,
        metrics: Metrics,
        *,
        replaced_key: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        whole: ClientOptions = {
            "max_in_flight": IN_FLIGHT,
            **options,
            "spool": place,
            "refresh_interval": None,
            "await_linger": None,
        }
        self._client = _Client(api_key.reveal(), replaced_key=replaced_key, **whole)
        self._replaced_key = replaced_key
        self._place = self._client.settings.spool or place
        self._metrics = metrics
        self._remembered = Remembered()
        self._buffer: Buffer
        self._learning: asyncio.Task[None] | None = None
        self._full_until = 0.0
        self._full = ""
        self._left = 0  # events of earlier processes at the start
        self._rejected = 0
        self._recount_at = 0.0
        self._counted: int = -1

    @property
    def settings(self) -> Settings:
        """The settings of the client that delivers."""
        return self._client.settings

    async def start(self) -> bytes:
        """See RelayStore."""
        try:
            secret = secret_in(self._place)
            self._left = await asyncio.to_thread(self._count_left)
        except OSError as error:
            raise RelayError(
                f"the spool in {self._place} cannot be read: {error.strerror or error}"
            ) from None
        self._buffer = self._client.buffer
        self._buffer.silence()  # the relay reports failures itself
        await self._client.__aenter__()
        self._learning = asyncio.create_task(learn_time(self._client), name="masivo-relay-time")
        return secret

    async def keep(self, batch: Batch) -> Kept:
        """See RelayStore."""
        known = self._remembered.digest_of(batch)
        if known is not None:
            return Kept.REPEATED if known == batch.digest else Kept.CONFLICT
        try:
            self._buffer.put_all(batch.events)
        except MasivoClosedError:
            raise StoreUnreachableError("the relay stops") from None
        except StoreError as error:
            self._full_until, self._full = time.monotonic() + FULL, str(error)
            raise StoreFullError(self._full) from None
        self._remembered.add(batch)
        return Kept.STORED

    def now(self) -> float:
        """See RelayStore."""
        return self._buffer.server_time()[0]

    async def problem(self) -> str | None:
        """See RelayStore."""
        if time.monotonic() < self._full_until:
            return self._full
        return None if self._client.store.has_room else f"the spool in {self._place} is full"

    async def backlog(self) -> Backlog:
        """See RelayStore."""
        stats = self._client.stats()
        unread = max(0, self._left - stats.adopted)
        now = time.monotonic()
        rejections = self._metrics.rejections
        if now >= self._recount_at or rejections != self._counted:
            self._recount_at = now + (RECOUNT if rejections == self._counted else WRITTEN)
            self._counted = rejections
            with suppress(OSError):
                self._rejected = await asyncio.to_thread(self._count_rejected)
        return Backlog(
            stats.queued + stats.in_flight + stats.spooled + unread, stats.oldest, self._rejected
        )

    async def stop(self, seconds: float) -> None:
        """See RelayStore."""
        if self._learning is not None:
            self._learning.cancel()
        await self._client.aclose(seconds)

    def _count_left(self) -> int:
        """Count the events that can be adopted."""
        key = self._client.settings.account.api_key.reveal()
        logs, others = Survey(self._place).logs(), self._replaced_key
        base_url = self._client.settings.account.base_url
        return sum(
            log.events
            for log in logs
            if not log.held and (log.is_of(key) or (others and log.base_url == base_url))
        )

    def _count_rejected(self) -> int:
        return sum(1 for _ in Survey(self._place).rejected())


def secret_in(place: str) -> bytes:
    """Return the secret in a directory; make one if there is none.

    Raises:
        RelayError: other users can read it, or it is damaged.
        OSError: it cannot be read or made.
    """
    path = f"{place}/{SECRET}"
    with suppress(FileNotFoundError):
        return _read_secret(path)
    draft = f"{path}.{secrets.token_hex(4)}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another relay came first
            os.link(draft, path)
    finally:
        os.unlink(draft)  # noqa: PTH108
    return _read_secret(path)


def _read_secret(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        mode = os.fstat(file.fileno()).st_mode & 0o777
        secret = file.read(_SECRET_BYTES + 1)
    if mode & 0o077:
        raise RelayError(
            f"{path} can be read by other users of this machine (mode {mode:04o}), and tokens are "
            "signed with it: delete it, and start again; clients get new tokens by themselves"
        )
    if len(secret) != _SECRET_BYTES:
        raise RelayError(
            f"{path} is damaged: delete it, and start again; clients get new tokens by themselves"
        )
    return secret
