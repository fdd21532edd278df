"""The tests of ``masivo._protocol.wire``."""
