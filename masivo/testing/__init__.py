"""What helps to test: the conformance suite for drivers, in ``masivo.testing.conformance``."""
