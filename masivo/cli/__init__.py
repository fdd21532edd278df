"""The command line: ``masivo COMMAND``, the extra ``masivo[cli]``.

One file for each command; ``importing`` implements ``masivo import``. Shared by all commands:
``account`` (the key and the API's address), ``exits`` (exit codes and error output), ``fields``
(KEY=VALUE), ``numbers`` (options that are numbers), ``terminal`` (printing), ``streams`` (what it
prints to).
"""
