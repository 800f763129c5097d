"""The embedded dataset: a simulated world, rendered to mp4 files."""
