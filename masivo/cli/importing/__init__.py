"""The implementation of ``masivo import``.

- ``shapes``: the format of a file, by its name and the options
- ``lines``: the lines of a file
- ``records``: lines to events
- ``table``: rows of a CSV file to events
- ``numbers``: JSON with numbers exactly as written
- ``documented``: events compared with what the vendor documents
- ``importer``: sends the events
- ``ledger``: accounts for every one
- ``state``: the file with the progress
- ``rejects``: the file of rejected events
- ``progress``: shows how far it is
"""
