"""The commands that evaluate a checkpoint, or runs beside each other."""
