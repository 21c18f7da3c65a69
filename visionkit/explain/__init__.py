"""Looking into a trained network: what it finds alike, what it looks at."""
