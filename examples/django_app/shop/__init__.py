"""A shop on Django that reports what goes into carts.

Run it: ``gunicorn shop.wsgi``, or ``uvicorn shop.asgi:application``, with ``MASIVO_API_KEY`` in
the environment.
"""
