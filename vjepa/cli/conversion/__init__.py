"""Commands that turn models and recipes into other formats."""
