"""Reporting: activity, log lines and warnings, without secrets.

- ``activity``: each step of the engine's work, as a small value
- ``lines``: the lines of ``MASIVO_LOG``, made of these values
- ``losses``: the warnings about events that were lost
- ``redaction``: texts and exceptions from outside, without the key and the token

Nothing is decided here: the parts that act also report (``Context.report``). A metric reads
``Output.activity``, as ``settle`` does for the log; the counters of ``Stats`` are in ``batches``.
"""
