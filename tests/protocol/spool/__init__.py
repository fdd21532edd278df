"""A client with a store (``docs/reference/guarantees.md#events-on-disk``)."""
