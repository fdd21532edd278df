"""The inspector, a page at the emulator's root: requests and events live, and fault switches.

- ``visits``: recognises the page's requests, and responds to them
- ``feed``: the data to show
- ``trigger``: a guess at the trigger of a batch
- ``curl``: a request as commands for a shell

The page itself is plain files beside this one.

The page's requests are not requests to the API: they are neither recorded nor counted, and no
fault applies to them.
"""

from masivo.emulator.inspector.feed import Inspector
from masivo.emulator.inspector.visits import Visit, is_visit

__all__ = ["Inspector", "Visit", "is_visit"]
