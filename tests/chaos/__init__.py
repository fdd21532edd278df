"""Hostile servers over real sockets, for the clients of all three worlds."""
