"""The adapters of the package's own drivers, and of the reference that they are held against."""
