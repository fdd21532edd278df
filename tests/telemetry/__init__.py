"""Metrics and spans of clients, read with OpenTelemetry's own SDK."""
