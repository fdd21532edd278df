"""The page at the emulator's root: what happens, live, and switches for faults.

`visits` says which requests are the page's and answers them; `feed` says what there is to
show; `trigger` guesses what made a batch go. The page itself is plain files beside this one.

What the page asks for is no request of the API: it is neither recorded nor counted, and no fault
touches it.
"""

from masivo.emulator.inspector.feed import Inspector
from masivo.emulator.inspector.visits import Visit, is_visit

__all__ = ["Inspector", "Visit", "is_visit"]
