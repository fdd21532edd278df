"""The tests of ``masivo._protocol.reporting``."""
