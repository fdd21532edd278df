"""The wire: everything that the vendor's API looks like, and nothing of when or why.

- ``api``: how the API is assumed to work (``Api``)
- ``requests``: both requests: paths, headers, the body of a batch and its encoding
- ``bodies``: bodies in gzip, for both sides
- ``statuses``: the statuses that may be retried, and those that blame a batch or a key
- ``responses``: the meaning of a response (granted, delivered, retryable, …), its error included
- ``tokens``: the token in a response, and its lifetime
- ``dates``: HTTP dates, and the form of ``issued_at``

And for servers, the emulator and the relay; no client imports them:

- ``serving``: paths, and replies
- ``jwt``: bearer tokens, made and checked
- ``schema``: the fields of an event, and their types

Retries are scheduled in ``sending``; batches are formed in ``batches``; the life of a token is in
``token``.
"""
