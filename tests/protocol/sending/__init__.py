"""The tests of ``masivo._protocol.sending``."""
