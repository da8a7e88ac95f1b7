"""The same 20 updates on one device, and on four in one, two and four processes.

    python tests/e2e/topologies.py [--workdir FOLDER]

Prints how far losses and parameters are from those of one device; with dropout as
well, which is the same wherever the micro-batches are.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from small_runs import Group, final_state, make_text, reported, train_command

# How far float32 rounding, in another order of the sums, takes 20 updates. Measured at most 1.2e-6
# in the losses, which are near 5, and 1.2e-7 in the parameters.
MAX_LOSS = 3e-6
MAX_PARAMETER = 3e-7


class Topology(NamedTuple):
    """How 16 rows are spread.

    Attributes:
      processes: of the run.
      devices: of each process.
      micro_batch_size: rows that a device takes at a time, 0 for all.
      shard_optimizer: the switch.
      dropout: of the model.
    """

    processes: int
    devices: int
    micro_batch_size: int
    shard_optimizer: bool
    dropout: float

    @property
    def reference(self) -> "Topology":
        """One device; all rows at once, but with dropout, which is drawn by micro-batch."""
        rows = self.micro_batch_size if self.dropout else 0
        return Topology(1, 1, rows, shard_optimizer=False, dropout=self.dropout)

    @property
    def accumulated(self) -> int:
        """Micro-batches of a device for one update."""
        rows = 16 // (self.processes * self.devices)
        return rows // (self.micro_batch_size or rows)


class Difference(NamedTuple):
    """The most by which anything differs."""

    loss: float
    parameter: float
    moment: float


ALL = [
    Topology(processes, 4 // processes, micro_batch_size, shard_optimizer, dropout)
    for dropout in (0.0, 0.1)
    for micro_batch_size in (4, 1)
    for shard_optimizer in (False, True)
    for processes in (1, 2, 4)
]


class Comparison:
    """Runs topologies, each once."""

    def __init__(self, folder: Path):
        self._folder = folder
        make_text(folder / "text")

    def run(self, topology: Topology) -> Path:
        """The run folder, trained to its end."""
        name = "_".join(map(str, topology))
        workdir = self._folder / name
        if workdir.exists():
            return workdir
        command = train_command(
            self._folder / "text",
            workdir,
            "--config.total_steps=20",
            "--config.eval_every_steps=10",
            "--config.log_every_steps=1",
            "--config.batch_size=16",
            f"--config.model.dropout={topology.dropout}",
            f"--config.model.attention_dropout={topology.dropout}",
            f"--config.parallelism.micro_batch_size={topology.micro_batch_size}",
            f"--config.parallelism.shard_optimizer={topology.shard_optimizer}",
        )
        logs = self._folder / "logs" / name
        cache = self._folder / "compiled"
        with Group(
            [command] * topology.processes, logs, devices=topology.devices, cache=cache
        ) as group:
            statuses = group.wait(300)
            assert not any(statuses), f"{statuses}\n{group.outputs}"
        return workdir

    def difference(self, topology: Topology) -> Difference:
        """From one device."""
        return differences(self.run(topology), self.run(topology.reference))


def differences(ours: Path, theirs: Path) -> Difference:
    """Of two runs: of all losses that were reported, and of all that was saved at the end."""
    rows, others = reported(ours), reported(theirs)
    assert [(row["step"], row["split"]) for row in rows] == [
        (row["step"], row["split"]) for row in others
    ]
    names = ("mlm_loss", "nsp_loss")
    losses = [abs(a[name] - b[name]) for a, b in zip(rows, others, strict=True) for name in names]
    mine, other = final_state(ours), final_state(theirs)
    assert int(mine.step) == int(other.step)
    return Difference(
        max(losses), _most(mine.params, other.params), _most(mine.opt_state, other.opt_state)
    )


def _most(ours: object, theirs: object) -> float:
    distances = jax.tree.map(lambda a, b: np.max(np.abs(np.subtract(a, b))), ours, theirs)
    return float(max(jax.tree.leaves(distances)))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, help="kept; without one, a folder that is not")
    options = parser.parse_args(arguments)
    worst = Difference(0, 0, 0)
    with tempfile.TemporaryDirectory() as temporary:
        comparison = Comparison(options.workdir or Path(temporary))
        print(
            "processes × devices  accumulation  sharded  dropout       loss  parameter     moment"
        )
        for topology in ALL:
            difference = comparison.difference(topology)
            worst = Difference(*map(max, worst, difference))
            print(
                f"{topology.processes} × {topology.devices:<15}  {topology.accumulated:12}"
                f"  {'yes' if topology.shard_optimizer else 'no':>7}  {topology.dropout:7}"
                + "".join(f"  {figure:9.2e}" for figure in difference),
                flush=True,
            )
    print(f"the most: {worst}; allowed: loss {MAX_LOSS}, parameter {MAX_PARAMETER}")
    return 0 if worst.loss <= MAX_LOSS and worst.parameter <= MAX_PARAMETER else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
