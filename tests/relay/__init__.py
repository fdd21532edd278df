"""The relay: its stores over real servers, its intake over real sockets."""
