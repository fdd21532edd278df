"""The I/O-free core: a state machine for one API key, to which clients attach.

It imports nothing that does I/O, waits, or tells the time, and nothing of the package outside
itself; ``tests/protocol/test_purity.py`` holds it to that. :mod:`masivo.protocol` is its public
face and states how a driver calls it.
"""

__version__ = "0.1.0"
