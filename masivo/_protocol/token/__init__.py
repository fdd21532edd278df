"""The token of a key: when it is fetched, renewed and discarded.

- ``authorizer``: the need for a token, the authorization that is out, and its result
- ``life``: the states of a token, as a table, and its times

The form of an authorization and of its response is in ``wire``.
"""
