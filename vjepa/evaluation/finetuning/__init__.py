"""Fine-tuning of an encoder with labels: whole, by low-rank adapters, and what both are compared with."""
