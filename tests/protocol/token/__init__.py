"""The tests of ``masivo._protocol.token``."""
