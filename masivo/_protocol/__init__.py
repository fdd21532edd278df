"""The I/O-free core."""

__version__ = "0.1.0"
