"""The wire: everything that the vendor's API looks like, and nothing of when or why.

- ``api``: the choices that the vendor does not document (``Api``)
- ``requests``: both requests: paths, headers, the body of a batch and its encoding
- ``responses``: the meaning of a response: granted, delivered, retryable, rejected, …
- ``tokens``: the token in a response, and its lifetime
- ``dates``: HTTP dates, and the form of ``issued_at``

When a request is sent again is decided in ``sending``; what becomes of a batch, in ``batches``; of
a token, in ``token``.
"""
