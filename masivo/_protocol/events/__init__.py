"""Events: the check and the encoding of one event, at the call that sends it.

- ``before_send``: the caller's function that may change or drop an event
- ``encoding``: the check of an event, and its bytes
- ``plain``: the conversion of an event's values to plain JSON types
- ``form``: the form in which an event is kept until it is sent

``batches`` decides when an event is sent.
"""
