"""The encoder and its pretraining heads, as pure Flax modules."""
