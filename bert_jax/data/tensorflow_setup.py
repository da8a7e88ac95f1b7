"""TensorFlow as it is used here: without its reports, and off the accelerators."""

import os

# Before the import, which would report its build and its matrix library; neither is used here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
import tensorflow as tf

__all__ = ["hide_accelerators", "tf"]


def hide_accelerators() -> None:
    """Leaves them to JAX; TensorFlow would claim their memory."""
    tf.config.set_visible_devices([], "GPU")
