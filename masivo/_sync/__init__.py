"""The thread driver.

- ``client``: the client and its deliveries
- ``session``: one key's engine, and the one thread that polls it
- ``clock``: time, and waiting for it; the seam for tests in virtual time
"""
