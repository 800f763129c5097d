"""What a run costs, counted from shapes: operations, FLOPs, memory, hours; and how it computes."""
