"""Closed-loop planning with world models."""
