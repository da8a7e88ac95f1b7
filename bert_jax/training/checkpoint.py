"""Checkpoints: parameters, optimizer state and where the run stands, saved together by orbax.

A step is there completely or not at all: orbax writes beside the final name and
renames. Saving copies the arrays and returns; the disk is written to meanwhile.
"""

import errno
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from bert_jax.errors import UserError
from bert_jax.training.steps import TrainState

_KEEP = 2  # the newest, and one to fall back on


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, *, read_only: bool = False):
        """Opens the folder; to write in it, it is made, and what killed runs left is removed."""
        self.folder = folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            item_names=("params", "opt_state", "progress"),
            options=ocp.CheckpointManagerOptions(
                save_decision_policy=checkpoint_managers.FixedIntervalPolicy(1),
                preservation_policy=checkpoint_managers.LatestN(_KEEP),
                cleanup_tmp_directories=not read_only,
                create=not read_only,
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """The newest step saved, None if there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Saves a state unless its step is there already; returns before the disk is done.

        Args:
          state: what to save.
          progress: what else the run must remember, as JSON.

        Raises:
          OSError: there is no room; the checkpoints before are whole.
        """
        step = int(state.step)
        if step == self.latest_step:
            return
        self.wait()
        self._check_room(state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                opt_state=ocp.args.StandardSave(state.opt_state),
                progress=ocp.args.JsonSave(progress),
            ),
        )

    def _check_room(self, state: TrainState) -> None:
        """Asks before: a disk that fills while orbax writes ends in hundreds of tracebacks."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            text = f"{needed:,} bytes are needed for a checkpoint, {free:,} are free"
            raise OSError(errno.ENOSPC, text, str(self.folder))

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest state, in NumPy arrays, whatever devices it was saved from, and its progress.

        Args:
          like: a state of the same shapes (`jax.eval_shape` gives one).

        Raises:
          UserError: the newest checkpoint cannot be read.
        """
        restored = self._restore(
            params=ocp.args.StandardRestore(_empty(like.params)),
            opt_state=ocp.args.StandardRestore(_empty(like.opt_state)),
            progress=ocp.args.JsonRestore(),
        )
        step = jnp.int32(self.latest_step)
        state = TrainState(step, restored["params"], restored["opt_state"])
        return state, restored["progress"]

    def restore_params(self, like: PyTree) -> PyTree:
        """The newest parameters only.

        Raises:
          UserError: nothing was saved yet, or it cannot be read.
        """
        return self._restore(params=ocp.args.StandardRestore(_empty(like)))["params"]

    def _restore(self, **items: ocp.args.CheckpointArgs) -> Any:
        """Some items of the newest checkpoint."""
        step = self.latest_step
        if step is None:
            raise UserError(f"{self.folder} holds no checkpoint yet")
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # whatever orbax, TensorStore or JSON make of a damaged file
            others = [other for other in self._manager.all_steps() if other != step]
            remedy = (
                f"remove it to go on from step {max(others)}" if others else "it is the only one"
            )
            raise UserError(
                f"{self.folder / str(step)} is damaged ({type(error).__name__}); {remedy}"
            ) from error

    def wait(self) -> None:
        """Returns when everything saved is on disk; raises if it could not be written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases the threads."""
        self._manager.close()


def _empty(tree: PyTree) -> PyTree:
    """NumPy arrays of the same shapes, which ask orbax for NumPy arrays."""
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
