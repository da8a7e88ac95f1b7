"""How fast the training step is, and where its time goes."""
