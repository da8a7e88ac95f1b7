"""The pieces of a training run: pure steps, and the effects around them."""
