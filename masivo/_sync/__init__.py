"""The thread driver.

- ``client``: the client and its deliveries
- ``session``: one key's engine, and the one thread that polls it
- ``helpers``: threads that send requests and run the application's code
- ``clock``: time, and waiting for it; the seam for tests in virtual time
"""
