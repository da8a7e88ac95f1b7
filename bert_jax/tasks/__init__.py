"""What BERT is fine-tuned for: how examples are read, shown to the model and scored."""
