"""Records of the events that clients of this process have accepted, and of their outcomes.

An event is recorded when it is sent to the client, in the order of the calls. So a test need not
wait for a batch to see what its code has sent, with any driver.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from masivo._protocol.events.form import decode
from masivo.protocol import Buffer, Delivery, Engine, Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from masivo import MasivoError
    from masivo.emulator import Emulator
    from masivo.protocol import DeliveryType, Json, Origin, Output, Settings, Store

__all__ = ["Recorder", "Sent"]


@dataclass(eq=False, slots=True)
class Sent:
    """One event that code under test passed to a client."""

    encoded: bytes
    state: Literal["pending", "delivered", "failed", "disabled"] = "pending"
    error: MasivoError | None = None
    """The reason if it failed."""
    in_threads: bool = False
    """True if the client is one for threads, which can be flushed from anywhere."""

    @property
    def event(self) -> dict[str, Any]:
        """The event as passed (with the default brand, without a stamp)."""
        return decode(self.encoded)


class Recorder:
    """The recorder of all clients that are made or reset while it is entered.

    Args:
        emulator: receives the events of other processes (children of the test).
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._changed = emulator._journal.changed  # noqa: SLF001
        self._records: list[Sent] = []
        # Pending records, by the identity of their delivery, which the core keeps alive until then.
        self._pending: dict[int, Sent] = {}
        self._batches: set[str] = set()
        """The idempotency keys of this process's batches."""
        self._originals: list[tuple[type[object], str, Callable[..., Any]]] = []

    def settled_in_threads(self) -> bool:
        """Return whether every event of a client for threads has its outcome."""
        records = list(self._records)
        return not any(each.in_threads and each.state == "pending" for each in records)

    @property
    def records(self) -> list[Sent]:
        """All records in order; events delivered by other processes come last."""
        return self._records + [
            Sent(record_of(event), "delivered")
            for request in self._emulator.batches
            if request.accepted and request.headers.get("idempotency-key") not in self._batches
            for event in request.events or ()
        ]

    def clear(self) -> None:
        """Forget the events so far."""
        self._records.clear()
        for request in self._emulator.batches:
            self._batches.add(request.headers.get("idempotency-key", ""))

    # ── Recording ────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        self._wrap(Engine, "attach", self._on_attach)
        self._wrap(Engine, "poll", self._on_poll)
        self._wrap(Buffer, "send", self._on_send)
        return self

    def __exit__(self, *_: object) -> None:
        while self._originals:
            kind, name, original = self._originals.pop()
            setattr(kind, name, original)

    def _wrap(self, kind: type[object], name: str, wrapped: Callable[..., Any]) -> None:
        original: Callable[..., Any] = getattr(kind, name)
        self._originals.append((kind, name, original))

        def call(target: object, *args: Any) -> Any:
            return wrapped(original, target, *args)

        setattr(kind, name, call)

    def _on_attach(
        self,
        original: Callable[..., Buffer],
        engine: Engine,
        settings: Settings,
        delivery_type: DeliveryType = Delivery,
        owner: object = None,
        store: Store | None = None,
    ) -> Buffer:
        in_threads = _is_threads(owner)

        def record_event(encoded: bytes, at: float, customer: str, origin: Origin) -> Delivery:
            delivery = delivery_type(encoded, at, customer, origin)
            if not encoded:  # ``before_send`` dropped it
                return delivery
            record = Sent(encoded, in_threads=in_threads)
            # Recorded before the core has it: another thread may settle it before `send` returns.
            if settings.enabled:
                self._pending[id(delivery)] = record
            else:
                record.state = "disabled"
            with self._changed:
                self._records.append(record)
                self._changed.notify_all()
            return delivery

        return original(engine, settings, record_event, owner, store)

    def _on_send(
        self, original: Callable[..., Delivery], buffer: Buffer, event: Mapping[str, object]
    ) -> Delivery:
        delivery = original(buffer, event)
        outcome = delivery.outcome
        if isinstance(outcome, Failed):  # the buffer was full
            self._end(delivery, "failed", outcome.error)
        return delivery

    def _on_poll(self, original: Callable[..., Output], engine: Engine) -> Output:
        output = original(engine)
        self._batches.update(
            dict(each.headers).get("idempotency-key", "") for each in output.requests
        )
        for settled in output.settled:
            failed = settled.outcome if isinstance(settled.outcome, Failed) else None
            for delivery in settled.deliveries:
                if failed is None:
                    self._end(delivery, "delivered", None)
                else:
                    self._end(delivery, "failed", failed.error)
        return output

    def _end(
        self, delivery: Delivery, state: Literal["delivered", "failed"], error: MasivoError | None
    ) -> None:
        record = self._pending.pop(id(delivery), None)
        if record is not None:
            with self._changed:
                record.state, record.error = state, error
                self._changed.notify_all()


def _is_threads(owner: object) -> bool:
    threads = sys.modules.get("masivo._sync.session")
    return threads is not None and isinstance(owner, threads.Session)


def record_of(event: Json) -> bytes:
    """Return an event in the form of `Sent.encoded`."""
    from masivo._protocol.json import encode

    return encode(event)
