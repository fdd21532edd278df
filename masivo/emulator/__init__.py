"""A local server that behaves as the Masivo API does, and misbehaves on demand.

It needs `h11`, and of this package only `masivo._protocol.wire` and `masivo._guesses`:

    with Emulator() as emulator:
        client = Client(emulator.client_key, base_url=emulator.url)
        ...
        emulator.fail(Fault(status=503), route="events", times=2)
"""

from masivo.emulator.emulator import Emulator
from masivo.emulator.faults import Fault
from masivo.emulator.records import RecordedRequest
from masivo.emulator.responses import Json

__all__ = ["Emulator", "Fault", "Json", "RecordedRequest"]
