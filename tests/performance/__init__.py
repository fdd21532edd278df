"""Guards of speed that no clock decides: instructions, allocations, wake-ups and requests."""
