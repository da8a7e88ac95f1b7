"""The same training step by torch and `transformers`, timed in turns with ours."""

import os
import statistics
import time
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from bert_jax.errors import UserError
from bert_jax.interop.settings import write_settings
from bert_jax.speed.timing import RATE, Step, Work, make_step, throughput, warm_up

IGNORED = -100  # torch's label of a position without a loss
_ROUNDS = 5


def leave_memory() -> None:
    """Lets JAX take memory of a GPU as it needs it, not three quarters at once, if it may choose.

    Before its first operation.
    """
    names = ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION")
    if not any(name in os.environ for name in names):
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def torch_batch(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `BertForPreTraining` of `transformers` takes: int64, a label for each position."""
    is_real = np.arange(batch["input_ids"].shape[1]) < batch["lengths"][:, None]
    labels = np.full(batch["input_ids"].shape, IGNORED, np.int64)
    row, place = np.nonzero(batch["mlm_weights"])
    labels[row, batch["mlm_positions"][row, place]] = batch["mlm_ids"][row, place]
    return {
        "input_ids": batch["input_ids"].astype(np.int64),
        "token_type_ids": batch["segment_ids"].astype(np.int64),
        "attention_mask": is_real.astype(np.int64),
        "labels": labels,
        "next_sentence_label": batch["nsp_labels"].astype(np.int64),
    }


class TorchStep:
    """`BertForPreTraining` of `transformers` with AdamW, clipping and torch's own attention.

    With bfloat16 it computes under autocast; parameters and moments are float32.

    Attributes:
      threads: of torch, on a CPU.
      loss: of the latest step.

    Raises:
      UserError: torch or transformers is not installed, or torch lacks the device.
    """

    def __init__(self, work: Work, *, compiled: bool):
        try:
            import torch
            import transformers
        except ImportError as error:
            raise UserError(
                f"{error.name} is not installed; pip install torch transformers"
            ) from None
        if work.examples_per_row > 1:
            raise UserError("transformers has no packed rows; leave out --examples-per-row or --vs")
        on_gpu = jax.default_backend() == "gpu"
        if on_gpu and not torch.cuda.is_available():
            raise UserError(
                f"JAX has a GPU and torch {torch.__version__} none; install torch for this GPU, "
                "or compare on the CPU with JAX_PLATFORMS=cpu"
            )
        if work.micro_batch_size:
            raise UserError("--micro-batch is not for --vs: torch would take all rows at once")
        # As JAX's default on a GPU: products of float32 in TF32.
        torch.set_float32_matmul_precision("high")
        device = torch.device("cuda" if on_gpu else "cpu")
        self._torch, self._on_gpu = torch, on_gpu
        self._precision: Any = nullcontext
        if work.config.dtype == "bfloat16":
            self._precision = lambda: torch.autocast(device.type, torch.bfloat16)
        self.threads: int = torch.get_num_threads()
        config = transformers.BertConfig(**write_settings(work.config, None, pad_id=0))
        config._attn_implementation = "sdpa"
        model = transformers.BertForPreTraining(config).to(device).train()
        self._params = list(model.parameters())
        self._optimizer = torch.optim.AdamW(
            self._params, lr=RATE, eps=1e-6, weight_decay=0.01, fused=on_gpu
        )
        self._model = torch.compile(model) if compiled else model
        self._batch = {
            name: torch.from_numpy(array).to(device)
            for name, array in torch_batch(work.batch()).items()
        }
        self.loss = float("nan")
        begin = time.perf_counter()
        self.wait(self.dispatch())
        self.first_step_seconds = time.perf_counter() - begin

    def dispatch(self) -> Any:
        """See `Step`."""
        self._optimizer.zero_grad()
        with self._precision():
            loss = self._model(**self._batch).loss
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._params, 1.0)
        self._optimizer.step()
        over = None
        if self._on_gpu:
            over = self._torch.cuda.Event()
            over.record()
        return over, loss

    def wait(self, step: Any) -> None:
        """See `Step`."""
        over, loss = step
        if over is not None:
            over.synchronize()
        self.loss = loss.item()


def compare(work: Work, *, compiled: bool, num_steps: int, warmup_seconds: float) -> dict:
    """Times both on one device in turns, so that what else the machine does meets both.

    Args:
      work: the step, the same for both but for the head: unless `predictions` is "all", ours
        computes it at the masked positions, and theirs everywhere, as each is made to be used.
      compiled: by `torch.compile`.
      num_steps: of each, in five rounds.
      warmup_seconds: of each.

    Returns:
      `ratios`, of each round theirs by ours: above 1 ours is faster; `ratio`, their median; both
      `ours` and `theirs` with `first_step_seconds`, `step_ms` (median of the rounds) and
      `throughput`; `steps_per_round`; `threads`, of torch, and the cores that
      XLA makes its own of; `versions`.

    Raises:
      UserError: see `TorchStep`.
    """
    theirs = TorchStep(work, compiled=compiled)  # first, for it may complain
    ours = make_step(work, jax.local_devices()[:1])
    steps: dict[str, Step] = {"ours": ours, "theirs": theirs}
    for step in steps.values():
        warm_up(step, warmup_seconds)
    count = -(-num_steps // _ROUNDS)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(_ROUNDS):
        for name, step in steps.items():
            seconds[name].append(_round_seconds(step, count))
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    first = {"ours": ours.first_step_seconds, "theirs": theirs.first_step_seconds}
    found = {
        name: {
            "first_step_seconds": first[name],
            "step_ms": statistics.median(times) * 1e3,
            **throughput(work, ours.batch, statistics.median(times)),
        }
        for name, times in seconds.items()
    }
    return {
        **found,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "steps_per_round": count,
        "threads": {"ours": len(os.sched_getaffinity(0)), "theirs": theirs.threads},
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }


def _round_seconds(step: Step, count: int) -> float:
    """Mean of so many steps, each dispatched while the one before it runs."""
    begin = time.perf_counter()
    running = step.dispatch()
    for _ in range(count - 1):
        last, running = running, step.dispatch()
        step.wait(last)
    step.wait(running)
    return (time.perf_counter() - begin) / count
