"""Clients of the package with one of the suite's stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from masivo._client import ClientBase

if TYPE_CHECKING:
    from masivo.protocol import Store

__all__ = ["with_store"]

C = TypeVar("C", bound=ClientBase[Any])


def with_store(kind: type[C], store: Store | None) -> type[C]:
    """A subclass of a client class that uses a store; the class itself for None."""

    def given(_: C) -> Store | None:
        return store

    if store is None:
        return kind
    return cast("type[C]", type(kind.__name__, (kind,), {"_store": given}))
