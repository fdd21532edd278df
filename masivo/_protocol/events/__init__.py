"""Events: the check and the encoding of one event, at the call that sends it.

- ``before_send``: the caller's function that may change or drop an event
- ``encoding``: the check of an event, and its bytes
- ``plain``: plain JSON types for all that an event may hold
- ``form``: the form in which an event is kept until it is sent

When an event goes is decided in ``batches``.
"""
