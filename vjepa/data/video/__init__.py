"""Reading video files: facts of a file, readers, storage, transforms."""
