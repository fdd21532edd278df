"""The tests of ``masivo._protocol.batches``."""
