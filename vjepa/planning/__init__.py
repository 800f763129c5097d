"""Planning: actions by search through what a model imagines."""
