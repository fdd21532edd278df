"""Clients of the package with a store of the suite's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from masivo._client import ClientBase

if TYPE_CHECKING:
    from masivo.protocol import Store

__all__ = ["with_store"]

C = TypeVar("C", bound=ClientBase[Any])


def with_store(kind: type[C], store: Store | None) -> type[C]:
    """The clients of a class, with their events in a store; None: as they are."""

    def given(_: C) -> Store | None:
        return store

    if store is None:
        return kind
    return cast("type[C]", type(kind.__name__, (kind,), {"_store": given}))
