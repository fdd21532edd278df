"""The spool's store: over real files in processes of their own, and over a disk that fails on
order."""
