"""Features of whole videos, written to files."""
