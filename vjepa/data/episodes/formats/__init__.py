"""Layouts in which episodes are stored."""
