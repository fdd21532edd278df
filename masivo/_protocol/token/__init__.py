"""The token of a key: when it is fetched, renewed and thrown away.

- ``authorizer``: who asks for a token, the authorization that is out, and what comes of it
- ``life``: the states of a token, as a table, and its times

What an authorization and its response look like is in ``wire``.
"""
