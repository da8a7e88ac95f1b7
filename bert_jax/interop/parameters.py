"""The parameters that a model must have, and fresh ones for those that a folder lacks."""

import dataclasses
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from bert_jax.interop.naming import flatten, nest
from bert_jax.model.encoder import initializer
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.steps import init_params

_SEED = 0  # what is initialised is the same each time a folder is loaded


def shapes_of(config: BertConfig, *, num_classes: int | None) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by its path, those of a classifier too if there are classes."""
    # All layers are alike, and to trace 24 takes a second.
    model = BertForPreTraining(dataclasses.replace(config, num_layers=1))
    params = jax.eval_shape(partial(init_params, model), stream_key(_SEED, Stream.INIT))
    shapes = {
        path.replace("/layer_0/", f"/layer_{n}/"): leaf.shape
        for path, leaf in flatten(params).items()
        for n in range(config.num_layers if "/layer_0/" in path else 1)
    }
    if num_classes is not None:
        shapes["classifier/dense/kernel"] = (config.width, num_classes)
        shapes["classifier/dense/bias"] = (num_classes,)
    return shapes


def create(params: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> PyTree:
    """The whole tree: `params` by path, and for other paths what training would begin with."""
    missing = {path: shape for path, shape in shapes.items() if path not in params}

    @jax.jit
    def fresh() -> dict[str, jax.Array]:
        key = stream_key(_SEED, Stream.INIT)
        kernels = {
            path: initializer(jax.random.fold_in(key, number), shape)
            for number, (path, shape) in enumerate(missing.items())
            if path.endswith("/kernel")
        }
        scales = {path: jnp.ones(missing[path]) for path in missing if path.endswith("/scale")}
        zeros = {path: jnp.zeros(shape) for path, shape in missing.items()}
        return zeros | scales | kernels

    return nest({**params, **{path: np.asarray(array) for path, array in fresh().items()}})
