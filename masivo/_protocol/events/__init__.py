"""Events: the check and the encoding of one event, at the call that sends it."""
