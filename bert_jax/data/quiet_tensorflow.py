"""TensorFlow, told before its import to report neither its build nor its matrix library."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
import tensorflow as tf

__all__ = ["tf"]
