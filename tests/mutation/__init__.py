"""Mutation testing of everything outside the core, by mutmut: ``make mutants FOLDER=_http``.

``folders.py`` says which tests may kill a mutant of a folder, ``operators.py`` which changes are
made, ``child`` which functions a test reaches, in whatever process; ``judge.py`` runs the tests,
and ``__main__.py`` reports. ``equivalent.py`` lists the survivors that no test should kill.

Everything happens in a copy of the repository, ``.mutated/FOLDER``, where results are kept, too.
"""
