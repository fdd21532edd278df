"""Connections of our own: every behaviour over real sockets, in every world."""
