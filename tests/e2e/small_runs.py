"""Runs of seconds in real processes of this machine, to be disturbed and compared."""

import contextlib
import functools
import gzip
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.metrics import read_metrics
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.run_folder import RunFolder
from bert_jax.training.steps import TrainState, init_state
from bert_jax.training.throughput import CLOCK_FIGURES

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


def make_text(folder: Path) -> None:
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
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.txt").write_text("\n\n".join(documents[:30]) + "\n")
    packed = gzip.compress("\n\n".join(documents[30:]).encode() + b"\n", mtime=0)
    (folder / "b.txt.gz").write_bytes(packed)


def train_command(text: Path, workdir: Path, *more: str, program: str = "") -> list[str]:
    """Trains the small model; `program` is a file to run instead of `bert_jax.train`."""
    start = [program] if program else ["-m", "bert_jax.train"]
    source = f"--config.data.source=text:{text}/*"
    arguments = ["--config", "configs/debug.py", "--workdir", str(workdir), "--quiet", source]
    return [sys.executable, *start, *arguments, *SMALL, *more]


class Group:
    """The processes of one run, each with its output in a file."""

    def __init__(
        self,
        commands: Sequence[list[str]],
        logs: Path,
        *,
        devices: int = 1,
        cache: Path | None = None,
        starting: Sequence[int] | None = None,
    ):
        """Starts them.

        Args:
          commands: of each process.
          logs: folder of their outputs.
          devices: of each process.
          cache: of compiled programs, which saves most of a start.
          starting: which of them to start; all if not given.
        """
        logs.mkdir(parents=True, exist_ok=True)
        settings = {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "PYTHONUNBUFFERED": "1",
        }
        if cache:
            settings |= {
                "JAX_COMPILATION_CACHE_DIR": str(cache),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
        if len(commands) > 1:
            settings |= {
                "JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}",
                "JAX_NUM_PROCESSES": str(len(commands)),
            }
        self.processes = []
        self._outputs = []
        for index in range(len(commands)) if starting is None else starting:
            own = {"JAX_PROCESS_ID": str(index)} if len(commands) > 1 else {}
            self._outputs.append(logs / f"{index}.log")
            with self._outputs[-1].open("w") as output:
                self.processes.append(
                    subprocess.Popen(
                        commands[index],
                        cwd=ROOT,
                        env=os.environ | settings | own,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
        self.began = time.monotonic()

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def __len__(self) -> int:
        return len(self.processes)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    @property
    def running(self) -> int:
        """How many have not ended."""
        return sum(process.poll() is None for process in self.processes)

    def signal(self, number: int, index: int | None = None) -> None:
        """Sends a signal to one of them, or to all."""
        for process in self.processes if index is None else [self.processes[index]]:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def output(self, index: int = 0) -> str:
        """What one of them has printed so far."""
        return self._outputs[index].read_text(errors="replace")

    @property
    def outputs(self) -> str:
        """What all have printed, to show when something went wrong."""
        return "\n".join(f"--- process {i}\n{self.output(i)}" for i in range(len(self)))

    @property
    def step(self) -> int:
        """The last step that was reported, in this start of the run."""
        found = re.findall(r"^step ([\d,]+) of ", self.output(), re.MULTILINE)
        return int(found[-1].replace(",", "")) if found else 0

    @property
    def resumed_at(self) -> int | None:
        """The step at which this start of the run began; None if it is not that far."""
        if found := re.search(r"^resuming at step ([\d,]+)$", self.output(), re.MULTILINE):
            return int(found[1].replace(",", ""))
        return 0 if re.search(r"^pretraining$", self.output(), re.MULTILINE) else None

    def wait_for(self, moment: Callable[[], object], timeout: float = 120) -> bool:
        """Waits for a moment; whether it came before one of them ended."""
        end = time.monotonic() + timeout
        while not moment():
            if self.running < len(self):
                return bool(moment())
            assert time.monotonic() < end, f"waited {timeout} s in vain\n{self.outputs}"
            time.sleep(0.004)
        return True

    def wait(self, timeout: float = 120) -> list[int]:
        """Their statuses when all have ended."""
        end = time.monotonic() + timeout
        try:
            return [process.wait(max(0, end - time.monotonic())) for process in self.processes]
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not all ended in {timeout} s\n{self.outputs}") from None


def free_port() -> int:
    """A port that nobody listens on, below those that Linux gives to outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("", port))
            return port


def final_state(workdir: Path) -> TrainState:
    """The newest state saved in a run folder."""
    config = RunFolder(workdir).read()["config"]
    model = BertForPreTraining(
        BertConfig(vocab_size=config["tokenizer"]["vocab_size"], **config["model"])
    )
    optimizer = make_optimizer(**config["optimizer"])
    init = functools.partial(init_state, model, optimizer, jax.random.key(0))
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    try:
        state, _ = checkpoints.restore(jax.eval_shape(init))
    finally:
        checkpoints.close()
    return state


def reported(workdir: Path) -> list[dict]:
    """Every row of metrics but for the clock's figures."""
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in CLOCK_FIGURES} for row in rows]
