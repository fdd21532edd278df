"""What stands behind ``masivo import``.

``lines`` reads, ``records`` makes events of lines (``table`` those of a CSV file), ``importer``
sends them, ``ledger`` accounts for every one, ``state`` and ``rejects`` are the files it leaves
behind, ``progress`` is what is seen meanwhile.
"""
