"""The core in virtual time, against a model of the server and the network, driven by one seed.

- ``plan.py``: what a seed means: settings, steps of the callers, fates of the requests.
- ``traffic.py``: events, good and bad.
- ``server.py``: the model of the server. ``world.py``: time, the network, the driver.
- ``contract.py``: what the contract says must happen next, and when; an independent model.
- ``invariants.py``: compares every output of the core with it. ``expect.py``: single outcomes.
- ``run.py``: one seed, or many; a failing one is shrunk, and a command printed that replays it.
- ``defects.py``: defects to seed into the core. ``mutants.py``: many more, made by a machine.
"""
