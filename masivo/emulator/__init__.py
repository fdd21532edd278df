"""A local server that behaves as the Masivo API does, and misbehaves on demand.

It needs `h11`, and of this package only `masivo._protocol.wire` and `masivo._guesses`. A test with
it:

    with Emulator() as emulator:
        client = Client(emulator.client_key, base_url=emulator.url)
        ...
        emulator.fail(Fault(status=503), route="events", times=2)

What callers see:

- ``emulator``: the class
- ``command``: the program that runs it from a shell
- ``inspector``: the page at its root

The API, without a socket, a thread or a clock:

- ``api``: its behaviour
- ``tokens``: bearer tokens
- ``quota``: the daily quota
- ``responses``: responses, before anything is sent
- ``records``: every request and every accepted event

Faults:

- ``faults``: faults on demand, and the requests to which they apply
- ``switches``: those of the inspector, which apply until switched off
- ``script``: the steps that send a response, altered by a fault

HTTP:

- ``server``: the listening socket, and the threads
- ``connection``: reads requests, and carries out their steps
- ``exchange``: a request, from its headers to the steps of its response
- ``loopback``: the hosts that no other machine can reach
"""

from masivo.emulator.emulator import Emulator
from masivo.emulator.faults import Fault
from masivo.emulator.records import RecordedRequest
from masivo.emulator.responses import Json

__all__ = ["Emulator", "Fault", "Json", "RecordedRequest"]
