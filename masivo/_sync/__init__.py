"""The thread driver."""
