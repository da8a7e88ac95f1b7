"""Checkpoints: parameters, optimizer state and where the run stands, saved together by orbax.

A step is there completely or not at all: orbax writes beside the final name and
renames. Saving copies the arrays and returns; the disk is written to meanwhile.
With a step go the checksums of its files, so that what a disk did to them later is
seen before it is trained on.
"""

import errno
import json
import shutil
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from bert_jax.atomic import write_file
from bert_jax.errors import UserError
from bert_jax.training.processes import ALONE, Processes
from bert_jax.training.steps import TrainState

_KEEP = 2  # the newest, and one to fall back on
_CHECKSUMS = "checksums.json"
_DAMAGED = ".damaged"
_CHUNK_BYTES = 1 << 24


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, *, read_only: bool = False, processes: Processes = ALONE):
        """Opens the folder; to write in it, it is made, and what killed runs left is removed.

        Args:
          folder: that all processes of the run see.
          read_only: nothing is written.
          processes: of the run; all must open it.
        """
        self.folder = folder
        self._processes = processes
        self._saving: int | None = None
        # OCDBT gathers small files, for object stores; here it takes a base model's state
        # (1.3 GB) from 3 s to 5 s.
        arrays = partial(ocp.StandardCheckpointHandler, use_ocdbt=False)
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            item_handlers={
                "params": arrays(),
                "opt_state": arrays(),
                "progress": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                save_decision_policy=checkpoint_managers.FixedIntervalPolicy(1),
                preservation_policy=checkpoint_managers.LatestN(_KEEP),
                cleanup_tmp_directories=not read_only,
                create=not read_only,
                async_options=ocp.AsyncOptions(
                    post_finalization_callback=self._write_checksums if processes.is_first else None
                ),
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """The newest step saved, None if there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Saves a state unless its step is there already; returns before the disk is done.

        Args:
          state: what to save; all processes must call it with the same.
          progress: what else the run must remember, as JSON.

        Raises:
          OSError: there is no room; the checkpoints before are whole.
        """
        step = int(state.step)
        if step == self.latest_step:
            return
        self.wait()
        self._check_room(state)
        self._saving = step
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(self._shared(state.params)),
                opt_state=ocp.args.StandardSave(self._shared(state.opt_state)),
                progress=ocp.args.JsonSave(progress),
            ),
        )

    def _shared(self, tree: PyTree) -> PyTree:
        """Copies of the processes as one array of all: so orbax shares out the writing."""
        share = ocp.utils.fully_replicated_host_local_array_to_global_array
        if self._processes.count == 1:
            return tree
        return jax.tree.map(lambda x: share(x) if isinstance(x, jax.Array) else x, tree)

    def _check_room(self, state: TrainState) -> None:
        """Asks before: a disk that fills while orbax writes ends in hundreds of tracebacks."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            text = f"{needed:,} bytes are needed for a checkpoint, {free:,} are free"
            raise OSError(errno.ENOSPC, text, str(self.folder))

    def _write_checksums(self) -> None:
        """Called in orbax's thread when all arrays are written, before the step gets its name."""
        (folder,) = self.folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        sums = {
            str(path.relative_to(folder)): _checksum(path)
            for path in sorted(folder.glob("*/**/*"))  # orbax still writes beside the items
            if path.is_file()
        }
        write_file(folder / _CHECKSUMS, json.dumps(sums))

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest state, in NumPy arrays, whatever devices it was saved from, and its progress.

        Args:
          like: a state of the same shapes (`jax.eval_shape` gives one).

        Raises:
          UserError: it cannot be read.
        """
        step = self._newest()
        restored = self._restore(
            step,
            params=ocp.args.StandardRestore(_empty(like.params)),
            opt_state=ocp.args.StandardRestore(_empty(like.opt_state)),
            progress=ocp.args.JsonRestore(),
        )
        state = TrainState(jnp.int32(step), restored["params"], restored["opt_state"])
        return state, restored["progress"]

    def restore_params(self, like: PyTree) -> tuple[PyTree, list[str]]:
        """The newest parameters that are whole, and a line for each newer one that is not.

        Raises:
          UserError: nothing was saved yet, or none can be read.
        """
        damage: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            if found := _damage(self.folder / str(step), "params"):
                damage[step] = found
                continue
            restored = self._restore(step, params=ocp.args.StandardRestore(_empty(like)))
            lines = [
                f"{self.folder / str(other)} is damaged ({text}); this is step {step}"
                for other, text in damage.items()
            ]
            return restored["params"], lines
        self._newest()
        raise _refusal(self.folder, damage)

    def _newest(self) -> int:
        if self.latest_step is None:
            raise UserError(f"{self.folder} holds no checkpoint yet")
        return self.latest_step

    def _restore(self, step: int, **items: ocp.args.CheckpointArgs) -> Any:
        """Some items of a checkpoint whose files are as they were written."""
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, TypeError, KeyError, FileNotFoundError) as error:
            text = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.folder / str(step)} is not what this program writes for such a model "
                f"({type(error).__name__}: {text}); go on with the version that wrote it, or "
                "choose another --workdir"
            ) from error

    def wait(self) -> None:
        """Returns when everything saved is on disk; raises if it could not be written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases the threads."""
        self._manager.close()


def set_damaged_aside(folder: Path) -> list[str]:
    """Renames the newest checkpoints if their files are not what was written.

    Of several processes only the first may call it, before the others look.

    Returns:
      What was found, a line each, for the person.

    Raises:
      UserError: none is whole; nothing is renamed then.
    """
    damage: dict[int, str] = {}
    steps = [int(entry.name) for entry in folder.glob("*") if entry.name.isdigit()]
    for step in sorted(steps, reverse=True):
        checkpoint = folder / str(step)
        found = _damage(checkpoint)
        if not found and not (checkpoint / _CHECKSUMS).exists():
            found = f"{_CHECKSUMS} is missing"
        if not found:
            return [_set_aside(folder / str(other), text) for other, text in damage.items()]
        damage[step] = found
    if damage:
        raise _refusal(folder, damage)
    return []


def _damage(checkpoint: Path, item: str = "") -> str | None:
    """What is wrong with the files of a checkpoint, None if nothing is known to be."""
    try:
        sums = json.loads((checkpoint / _CHECKSUMS).read_text())
    except FileNotFoundError:  # written by an older version, or lost
        return None
    except ValueError:
        return f"{_CHECKSUMS} is not as it was written"
    for name, checksum in sums.items():
        if name.startswith(item):
            try:
                if _checksum(checkpoint / name) != checksum:
                    return f"{name} is not as it was written"
            except PermissionError:
                raise
            except OSError as error:  # missing, or a disk that fails
                return f"{name}: {error.strerror}"
    return None


def _set_aside(checkpoint: Path, damage: str) -> str:
    aside = checkpoint.with_name(checkpoint.name + _DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)  # of an earlier time
    checkpoint.rename(aside)
    return f"{checkpoint} is damaged ({damage}), renamed to {aside.name}"


def _refusal(folder: Path, damage: dict[int, str]) -> UserError:
    listed = "; ".join(f"{step}: {text}" for step, text in damage.items())
    return UserError(
        f"no checkpoint in {folder} can be read ({listed}); get back a copy, or remove the "
        "folder to begin anew"
    )


def _checksum(path: Path) -> list[int]:
    """Size and CRC-32 of a file: against what disks and copies do, not against people."""
    size = checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
            size += len(chunk)
    return [size, checksum]


def _empty(tree: PyTree) -> PyTree:
    """NumPy arrays of the same shapes, which ask orbax for NumPy arrays."""
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
