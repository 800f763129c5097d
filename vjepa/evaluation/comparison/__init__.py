"""One encoder under several objectives."""
