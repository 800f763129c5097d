"""Episodes of worlds and robots: frames, actions and states."""
