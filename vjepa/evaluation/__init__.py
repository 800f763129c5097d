"""What has been learned: measures on embeddings of frozen encoders."""
