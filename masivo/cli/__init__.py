"""The command line: ``masivo COMMAND``, the extra ``masivo[cli]``.

One file for each command; ``importing`` is what stands behind ``masivo import``. What they share:
``account`` (the key, and where the API is), ``exits`` (exit codes and how an error is told),
``fields`` (KEY=VALUE), ``terminal`` (what is printed, and how).
"""
