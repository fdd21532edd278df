"""The implementation of ``masivo import``.

``shapes`` finds out the format of a file, ``lines`` reads it, ``records`` turns lines into events
(``table`` those of a CSV file), ``documented`` compares them with what the vendor documents,
``importer`` sends them, ``ledger`` accounts for every one, ``state`` and ``rejects`` are the files
it writes, ``progress`` shows how far it is.
"""
