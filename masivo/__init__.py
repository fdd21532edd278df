"""Event delivery for the Masivo loyalty platform."""
