"""The command line: ``masivo COMMAND``, the extra ``masivo[cli]``.

One file for each command:

- ``app``: the group of commands
- ``check``: check the key
- ``send``: send one event
- ``import_file``: send the events of a file
- ``importing``: the parts of ``import_file``
- ``spool``: show, send or export the events of a spool
- ``sending``: sends what was left in a spool
- ``relay``: run a relay, and list its dead letters
- ``emulator``: run the local server

And what commands share:

- ``account``: the key and the API's address
- ``exits``: exit codes and error output
- ``fields``: fields of an event as KEY=VALUE
- ``numbers``: options that are numbers
- ``export``: JSON Lines, written to a file or to standard output
- ``terminal``: printing
- ``streams``: the standard streams
"""
