"""Label efficiency: accuracy against labels and unlabelled clips, beside training with labels alone."""
