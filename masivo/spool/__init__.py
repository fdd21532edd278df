"""The spool: a client's events on disk, so that they outlive its process.

A log is the files of one client's events. Decided here: the form of a record, the owner of a log,
and what remains of a log after a crash, a full disk or damage. The core decides what is stored,
noted, read and removed, and when; its driver carries that out on a ``Store`` (``masivo.protocol``),
which this package implements. The package knows no HTTP, no event loop and no engine. There is no
fsync: the crash of a process loses nothing; a power failure loses what the system had not yet
written.

``Spool`` is one client's store in one directory:

- ``append`` is part of the call to send: one write to one file, without a lock. Any thread, signal
  handler or finalizer may call it, even while another append is in progress. The event is on disk
  when it returns its position. The same holds for ``append_all``, which ``Buffer.put_all`` calls.
- ``has_room`` and ``due`` may be read from anywhere.
- Everything else runs one call at a time: in steps of work (``StoreWork``, which the driver carries
  out), from any thread but an event loop's. If the store is ``quick`` (see ``Store``),
  ``Engine.poll``, too, may call a log's ``note`` and ``remove``, while the driver has no work to
  carry out. ``own`` and each log of ``adopt`` are a ``StoredLog``.
- ``forked`` is for the child of a fork, ``release`` for the end.

On disk, in the directory (mode 0700, files 0600); NAME is a log's::

    NAME.lock          held by flock while a process has the log; says whose it is
    NAME.000001.log    the first segment: records of events, appended
    NAME.000001.notes  what was noted and removed while that segment was the newest
    TIME-….bad         what could not be read of a log
    TIME-….rejected.jsonl   rejected events with their errors

The files of the package:

- ``records``: the bytes of a record, and reading past damage
- ``bodies``: the events, the note or the removal in a record
- ``ranges``: sets of positions
- ``disk``: every operation on files that the others use; a simulator can replace it
- ``process``: the number of this process
- ``tail``: the end of a segment, to which callers append
- ``lock``: the lock of a log
- ``log``: one log: segments, notes, removals
- ``segment``: what is known of one segment
- ``rejected``: the files of rejected events and of damaged parts
- ``spool``: one client's logs: its own, and those that it adopts
- ``place``: the checks of a directory
- ``survey``: the content of a directory, for people
"""

from __future__ import annotations

from .place import check_place
from .spool import Spool

__all__ = ["Spool", "check_place"]
