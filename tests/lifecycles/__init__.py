"""Real programs and servers that start, fork, run and end with a client inside."""
