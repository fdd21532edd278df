"""The parts of the test kit; ``masivo.testing.plugin`` puts them together for pytest.

- ``environment``: which key and base URL the code under test finds, and when.
- ``isolation``: nothing of one test's clients is left for the next.
- ``recorder``: what clients have taken, and what became of it.
- ``matching``: does an event fit an expectation, and how near is it?
- ``report``: what is said when none does.
- ``events``: the fixture ``masivo_events``.
- ``clock``: the fixture ``masivo_clock``.
"""
