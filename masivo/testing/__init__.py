"""Support for tests.

For apps, see ``docs/how-to/testing.md``:

- ``plugin``: the pytest plugin, whose fixtures are of the types here
- ``kit``: its parts, and ``MasivoTestCase`` for unittest

For drivers:

- ``conformance``: the suite that each can be run through
"""

from importlib import import_module

TYPE_CHECKING = False  # as in ``masivo``: pytest imports this at every start
if TYPE_CHECKING:
    from .kit.cases import MasivoTestCase
    from .kit.clock import MasivoClock
    from .kit.events import MasivoEvents

__all__ = ["MasivoClock", "MasivoEvents", "MasivoTestCase"]

_HOMES = {
    "MasivoClock": ".kit.clock",
    "MasivoEvents": ".kit.events",
    "MasivoTestCase": ".kit.cases",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value
