"""The core in virtual time, against a model of the server and the network, driven by one seed.

What happens:

- ``plan.py``: what a seed means: settings, steps of the callers, fates of the requests.
- ``world.py``: time, the driver and the network. ``server.py``: the model of the server.
- ``steps.py``: what callers do. ``traffic.py``: events, good and bad. ``callers.py``: those who
  wait. ``cases.py``: settings, right and wrong.

What must come of it:

- ``contract.py``, with ``calls.py``, ``state.py`` and ``model.py``: an independent model of what
  must happen next, and when, by ``docs/reference/guarantees.md`` (here: the contract).
- ``invariants.py`` compares every output of the core with it; ``expect.py``, single outcomes;
  ``activity.py``, the reported activity.

How it is run:

- ``frame.py``: one seed, or many; a failing one is shrunk, and a command printed that replays it.
  ``run.py`` puts this simulator into it, ``tests/spool/simulation`` another.
- ``defects.py`` breaks the core's rules, one by one, and shows the seed that finds each.
- ``mutants.py``: many more defects, made by a machine.
"""
