"""The parts of the test kit; ``masivo.testing.plugin`` combines them for pytest.

- ``environment``: the key and base URL that the code under test finds
- ``isolation``: the reset of clients between tests
- ``emulated``: an emulator for one test, and its place in environment and clients
- ``recorder``: the events that clients have accepted, and their outcomes
- ``matching``: the comparison of an event with an expectation, and how near it is
- ``report``: the message of an expectation that fails
- ``events``: the fixture ``masivo_events``
- ``clock``: the fixture ``masivo_clock``
- ``virtual``: virtual time for the clients of a test
- ``travel``: tests that travel in time with another library
- ``loops``: calls in asyncio or trio, whichever is running
- ``cases``: the same for ``unittest``
"""
