"""Imported by every Python that a test starts: notes which functions the program reaches."""

import os
from importlib import import_module

if os.environ.get("MUTANT_UNDER_TEST") == "stats":
    import_module("reached").note_all()
