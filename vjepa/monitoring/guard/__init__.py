"""Bad steps: skipped, counted, kept, and run again alone."""
