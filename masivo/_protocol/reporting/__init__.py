"""Reporting: what the engine says about its own work, and what it must not say.

- ``activity``: each thing that the engine does, as a small value
- ``lines``: the lines of ``MASIVO_LOG``, made of these values
- ``losses``: the warnings about events that were lost
- ``redaction``: texts and exceptions from outside, without the key and the token

Nothing is decided here: the parts that act also report (``Context.report``). A metric reads
``Output.activity``, as ``settle`` does for the log; the counters of ``Stats`` are in ``batches``.
"""
