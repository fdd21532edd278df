"""The drivers of ``examples/``: they work, they conform, and they are as small as promised."""
