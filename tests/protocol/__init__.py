"""The tests of the core, in virtual time: no sockets, threads, sleeps or patches."""
