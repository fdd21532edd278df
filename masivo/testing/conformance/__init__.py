"""A suite that any driver of ``masivo.protocol`` can be run through.

Each scenario is written once, as a script of calls and responses. The scenario, and each
of its failures, names the guarantee that it proves, as an anchor of
``docs/reference/guarantees.md``. It runs over real sockets, in virtual time, and checks outcomes
and the wire: each request must be, byte for byte, what the core asked for, and the transcript must
equal that of a reference driver.

With an ``Adapter`` for your driver, under pytest:

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
    def test_conformance(scenario: Scenario) -> None:
        assert_conforms(scenario, MyAdapter)

A driver may lack three capabilities (``Adapter.parallel``, ``Adapter.background``,
``Adapter.storage``). No scenario is skipped for that. Without a capability that it needs, a
scenario runs one request at a time, with the driver pumped, or with the work on stores done by the
suite; its ``Report.form`` says so.
"""

from .adapter import Adapter, Capability, ClientHandle, ClientSettings, SentEvent, call_in_thread
from .client import Call, Client, Event, NonconformityError, event
from .clock import VirtualClock
from .compare import assert_conforms
from .disk import MemoryDisk, MemoryLog, MemoryStore
from .perform import Report, perform
from .run import Run
from .scenario import Scenario, scenario
from .scenarios import SCENARIOS

__all__ = [
    "SCENARIOS",
    "Adapter",
    "Call",
    "Capability",
    "Client",
    "ClientHandle",
    "ClientSettings",
    "Event",
    "MemoryDisk",
    "MemoryLog",
    "MemoryStore",
    "NonconformityError",
    "Report",
    "Run",
    "Scenario",
    "SentEvent",
    "VirtualClock",
    "assert_conforms",
    "call_in_thread",
    "event",
    "perform",
    "scenario",
]
