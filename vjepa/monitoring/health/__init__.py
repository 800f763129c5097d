"""Is a run healthy: statistics, verdicts and bands of healthy runs."""
