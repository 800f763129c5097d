"""The card of a run: one HTML page that holds everything about it."""
