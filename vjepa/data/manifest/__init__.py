"""Lists of files: manifests, listings, annotations, and checks of whole datasets."""
