"""Support for tests.

For apps: a pytest plugin, whose fixtures are of these types (and ``masivo.emulator.Emulator``), and
``MasivoTestCase`` for unittest; see ``docs/how-to/testing.md``. For drivers: the conformance suite,
``masivo.testing.conformance``.
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
