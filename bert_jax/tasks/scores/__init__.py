"""The official metrics of each task, of texts and labels alone."""
