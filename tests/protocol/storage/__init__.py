"""The tests of ``masivo._protocol.storage``."""
