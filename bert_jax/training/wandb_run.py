"""A copy of what a run reports to Weights & Biases, for those who ask for it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bert_jax.atomic import write_file
from bert_jax.errors import UserError


def require_wandb() -> None:
    """Asked for before text is prepared for an hour.

    Raises:
      UserError: wandb is not installed.
    """
    if find_spec("wandb") is None:
        raise UserError("--wandb needs Weights & Biases: pip install -e '.[wandb]'")


class WandbRun:
    """The run on Weights & Biases that belongs to a run folder."""

    def __init__(self, folder: Path, *, project: str, start_step: int, config: dict[str, Any]):
        """Begins a run, or goes on with the one whose id the folder keeps.

        Where to and how is wandb's own to know, from its login and `WANDB_…` variables.

        Args:
          folder: the run's; `wandb_id` and `wandb/` appear in it.
          project: its name there.
          start_step: a run that begins anew is a new one there too, for what an
            earlier try reported cannot be taken back.
          config: the resolved one, plain data.

        Raises:
          UserError: wandb is not installed, not logged in, or refuses the project.
        """
        require_wandb()
        import wandb

        id_file = folder / "wandb_id"
        known = start_step > 0 and id_file.is_file()
        try:
            self._run = wandb.init(
                project=project,
                dir=folder,
                id=id_file.read_text() if known else None,
                resume="allow",
                config=config,
                allow_val_change=True,  # of what may change in a run, such as total_steps
                settings=wandb.Settings(console="off"),  # standard output stays the console's
            )
        except wandb.Error as error:
            raise UserError(
                f"--wandb: {error}; `wandb login` once, or WANDB_MODE=offline to send it later"
            ) from error
        write_file(id_file, self._run.id)

    def write(self, step: int, split: str, figures: dict[str, float]) -> None:
        """One row; those of steps that were reported before a kill are passed over there."""
        row = {f"{split}/{name}": value for name, value in figures.items()}
        self._run.log(row, step=step)

    def close(self) -> None:
        """Waits until everything was sent."""
        self._run.finish()
