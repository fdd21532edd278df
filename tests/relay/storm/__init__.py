"""A fleet in a storm: relays and Redis die, hang and come back while clients send.

``python -m tests.relay.storm SEED [SECONDS]`` runs one by hand, from the root of the repository.

Planted defects that it has found with the seeds 1 and 2, in 25 s each: a request that does not look
at its lease (events twice for no reason), a relay that does not heed, or does not write, which
events of an entry have ended. It has not found a relay that reads a partition again before its
removals are written, nor one that sends while they cannot be: ``test_redis_leases`` and
``test_redis_delivery`` do.
"""
