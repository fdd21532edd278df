"""Many processes, each with the real engine, in virtual time with one heap of events."""
