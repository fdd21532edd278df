"""A local server that behaves as the Masivo API does, and misbehaves on demand.

It needs the standard library and `h11`, and nothing else of this package:

    with Emulator() as emulator:
        client = Client(emulator.client_key, base_url=emulator.url)
        ...
        emulator.fail(Fault(status=503), route="events", times=2)
"""

from masivo.emulator.answers import Json
from masivo.emulator.emulator import Emulator
from masivo.emulator.faults import Fault
from masivo.emulator.records import RecordedRequest

__all__ = ["Emulator", "Fault", "Json", "RecordedRequest"]
