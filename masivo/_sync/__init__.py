"""The thread driver.

- ``client``: the client and its deliveries
- ``session``: one key's engine, the thread that polls it, and the helpers
- ``clock``: time, and waiting for it; the seam for tests in virtual time
"""
