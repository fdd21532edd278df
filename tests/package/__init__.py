"""The package as it is published: its public interface, and what its archives hold."""
