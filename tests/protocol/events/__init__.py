"""The tests of ``masivo._protocol.events``."""
