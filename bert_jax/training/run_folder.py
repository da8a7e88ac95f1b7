"""The folder of one run: what is where, and whose it is."""

import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bert_jax.atomic import locked, write_file
from bert_jax.errors import UserError

# What decides the data and the shape of the state: a run that changed these would be another run.
FIXED = (
    "seed.",
    "init.",
    "tokenizer.",
    "data.",
    "task.",
    "pairs.",
    "masking.",
    "model.",
    "optimizer.algorithm.",
)
# Of these: where the corpus lies (that it is the same one is seen by its hash), how the step is
# computed, and what counts from a step on.
_FREE = {
    "data.corpus",
    "data.staging",
    "data.other_dev",
    "model.attention",
    "model.remat",
    "pairs.seq_len",
}

History = Callable[[dict[str, Any], int], Any]

_VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers")


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's: by what its `config.json` says."""
    try:
        RunFolder(folder).read()
    except UserError:
        return False
    return True


class RunFolder:
    """Paths of a run, and its `config.json`: the resolved config, versions and hashes."""

    def __init__(self, path: Path):
        self.path = path
        self.config_file = path / "config.json"
        self.tokenizer = path / "tokenizer"
        self.corpus = path / "corpus"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.compilation_cache = path / "compilation_cache"

    def read(self) -> dict[str, Any]:
        """The contents of `config.json`.

        Raises:
          UserError: this is not a run folder.
        """
        if not self.config_file.is_file():
            raise UserError(f"{self.path} is not a run folder (config.json is missing)")
        try:
            record = json.loads(self.config_file.read_text())
        except ValueError as error:
            raise UserError(f"{self.config_file} is damaged ({error})") from None
        if not isinstance(record, dict) or not {"config", "versions"} <= record.keys():
            raise UserError(
                f"{self.path} is not a run folder (its config.json is another program's)"
            )
        return record

    @property
    def saved_step(self) -> int | None:
        """The newest step that was saved here."""
        steps = [int(entry.name) for entry in self.checkpoints.glob("*") if entry.name.isdigit()]
        return max(steps, default=None)

    @property
    def is_trained(self) -> bool:
        """Whether a checkpoint was saved here."""
        return self.saved_step is not None

    def claim(
        self,
        config: dict[str, Any],
        history: History,
        defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> list[str]:
        """Makes the folder this config's, or checks that it is.

        Until something was trained the folder can change hands: a first try often
        ends in a complaint about the text or the vocabulary. What was prepared for
        another tokenizer or other text is then removed.

        Args:
          config: the resolved config, plain data.
          history: what a config trains on in its first steps.
          defaults: of the keys of its sections; a key that a config lacks has this value, as one
            has that was written before there was the key.

        Returns:
          What changed since the run began and may change, "name: old -> new" each.

        Raises:
          UserError: the folder belongs to a run with other data or another model.
        """
        record = {"config": config, "versions": versions()}
        if not self.config_file.exists():
            self._write(record)
            return []
        before = self.read()
        if ("task" in before["config"]) != ("task" in config):
            kind = "fine-tuning" if "task" in before["config"] else "pretraining"
            raise UserError(f"{self.path} belongs to a run of {kind}; choose another --workdir")
        changes = differences(_complete(before["config"], defaults), _complete(config, defaults))
        names = {line.partition(":")[0] for line in changes}
        changed = any(f"{name}.".startswith(FIXED) for name in names - _FREE)
        step = self.saved_step
        if step is not None and (
            changed or history(before["config"], step) != history(config, step)
        ):
            raise UserError(
                f"{self.path} belongs to a run with another config ({'; '.join(changes)}); "
                "choose another --workdir"
            )
        remade = any(name.partition(".")[0] in ("tokenizer", "data") for name in names)
        if not self.is_trained and remade:
            self.discard_prepared()
            before = {}
        if step is None and changed:
            shutil.rmtree(self.model, ignore_errors=True)  # of another task or model
        self._write(before | record)
        return changes + differences(before.get("versions", versions()), record["versions"])

    def discard_prepared(self) -> None:
        """Removes the tokenizer and the corpus of a run that was not trained yet."""
        shutil.rmtree(self.tokenizer, ignore_errors=True)
        shutil.rmtree(self.corpus, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, and keeps other processes out of it meanwhile.

        Raises:
          UserError: another process is in it, or the path is no folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--workdir {self.path} is a file; name a folder")
        with locked(self.path, "wait for it or choose another --workdir"):
            yield

    def record_hashes(self, **hashes: str) -> None:
        """Writes down the hashes of what was prepared, or checks that they are still the same.

        Raises:
          UserError: the tokenizer or the corpus is not what the run began with.
        """
        record = self.read()
        for name, value in hashes.items():
            if not self.is_trained:
                record[name] = value
            if record.setdefault(name, value) != value:
                raise UserError(
                    f"{self.path}: {name} is {value[:12]}, the run began with "
                    f"{record[name][:12]}; choose another --workdir"
                )
        self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        # Of several processes the first has written it already.
        if self.config_file.exists() and self.read() == record:
            return
        write_file(self.config_file, json.dumps(record, indent=2) + "\n")


def _complete(config: dict[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The config with the keys that its sections lack."""
    return config | {name: {**keys, **config.get(name, {})} for name, keys in defaults.items()}


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _VERSIONS}


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """What changed in nested data, as "name: old -> new" each."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if old == new else [f"{name}: {old!r} -> {new!r}"]
