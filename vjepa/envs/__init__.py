"""Simulated worlds: what an agent can see, do and reach."""
