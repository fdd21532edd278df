"""A fleet in a storm: relays and Redis die, hang and come back while clients send.

``python -m tests.relay.storm SEED [SECONDS]`` runs one by hand, from the root of the repository.
"""
