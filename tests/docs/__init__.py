"""The documentation: its examples run, its diagrams agree with the code, its site is whole."""
