"""A text small enough to train on in seconds, and commands run as a person runs them."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A model of seconds; the text below supports this vocabulary.
SMALL = [
    "--config.total_steps=60",
    "--config.batch_size=8",
    "--config.log_every_steps=5",
    "--config.eval_every_steps=30",
    "--config.checkpoint_every_steps=10",
    "--config.tokenizer.vocab_size=150",
    "--config.model.dropout=0.1",
]


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents of made-up sentences, two files, one packed."""
    chosen = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = ["".join(chosen.choices(syllables, k=chosen.randint(1, 4))) for _ in range(60)]
    weights = [1 / rank for rank in range(1, 61)]  # as words are
    documents = [
        "\n".join(
            " ".join(chosen.choices(words, weights, k=chosen.randint(4, 14))).capitalize() + "."
            for _ in range(chosen.randint(5, 20))
        )
        for _ in range(60)
    ]
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.txt").write_text("\n\n".join(documents[:30]) + "\n")
    (folder / "b.txt").write_text("\n\n".join(documents[30:]) + "\n")
    subprocess.run(["gzip", folder / "b.txt"], check=True)
    return folder


class Shell:
    """Runs `python -m bert_jax.COMMAND` in the project's folder."""

    def command(self, name: str, *arguments: object) -> list[str]:
        return [sys.executable, "-m", f"bert_jax.{name}", *map(str, arguments)]

    def train_command(self, text: Path, workdir: Path, *more: str) -> list[str]:
        source = f"--config.data.source=text:{text}/*"
        arguments = ["--config", "configs/debug.py", "--workdir", workdir, "--quiet", source]
        return self.command("train", *arguments, *SMALL, *more)

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
