"""A text small enough to train on in seconds, and commands run as a person runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ROOT, make_text, train_command


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents of made-up sentences, two files, one packed."""
    folder = tmp_path_factory.mktemp("text")
    make_text(folder)
    return folder


class Shell:
    """Runs `python -m bert_jax.COMMAND` in the project's folder."""

    def command(self, name: str, *arguments: object) -> list[str]:
        return [sys.executable, "-m", f"bert_jax.{name}", *map(str, arguments)]

    def train_command(self, text: Path, workdir: Path, *more: str) -> list[str]:
        return train_command(text, workdir, *more)

    def start(self, command: list[str]) -> subprocess.Popen:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: list[str], status: int = 0) -> str:
        """What it prints on standard output, or on standard error if it is to fail."""
        process = self.start(command)
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, f"{command}\n{out}\n{err}"
        return err if status else out


@pytest.fixture(scope="session")
def shell() -> Shell:
    return Shell()


@pytest.fixture(scope="session")
def trained(shell: Shell, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, trained to its end without disturbance."""
    workdir = tmp_path_factory.mktemp("runs") / "straight"
    printed = shell.run(shell.train_command(text, workdir))
    (workdir / "printed.txt").write_text(printed)
    return workdir
