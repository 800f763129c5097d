"""Training YAMLs of the released code as recipes."""
