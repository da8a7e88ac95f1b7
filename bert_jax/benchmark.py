"""Times the training step on synthetic batches, without TensorFlow.

python -m bert_jax.benchmark --size tiny
"""

import json
import statistics
import time
from functools import partial

import jax
import numpy as np

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import DTYPES, SIZES, BertConfig, training_flops_per_token
from bert_jax.training.compilation import set_flags
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import (
    Parallelism,
    all_devices,
    describe_devices,
    local_rows,
    make_notes,
    parallel_train_step,
    place,
    shard_batch,
)
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.steps import init_state, make_train_step
from bert_jax.training.throughput import peak_flops

_MASKED = 0.15
_PADDING = 0.05  # mean share: rows are 90 to 100 % full


def synthetic_batch(config: BertConfig, *, batch_size: int, seq_len: int) -> dict[str, np.ndarray]:
    """A batch of random tokens, rows 90 to 100 % full, 15 % of the tokens masked."""
    random = np.random.default_rng(0)
    num_predictions = max(1, round(_MASKED * seq_len))
    lengths = random.integers(int(seq_len * (1 - 2 * _PADDING)), seq_len + 1, batch_size)
    positions = np.sort(
        random.permuted(np.tile(np.arange(lengths.min()), (batch_size, 1)), axis=1)[
            :, :num_predictions
        ]
    )
    shape, masked = (batch_size, seq_len), (batch_size, num_predictions)
    return {
        "input_ids": random.integers(0, config.vocab_size, shape, np.int32),
        "segment_ids": np.tile(np.arange(seq_len) >= seq_len // 2, (batch_size, 1)).astype(
            np.int32
        ),
        "lengths": lengths.astype(np.int32),
        "mlm_positions": positions.astype(np.int32),
        "mlm_ids": random.integers(0, config.vocab_size, masked, np.int32),
        "mlm_weights": np.ones(masked, np.float32),
        "nsp_labels": random.integers(0, 2, batch_size, np.int32),
    }


def time_steps(
    config: BertConfig, *, batch_size: int, seq_len: int, num_steps: int, warmup_seconds: float
) -> dict[str, float]:
    """Compiles and times the step.

    Args:
      config: the model.
      batch_size: B, over all devices.
      seq_len: T.
      num_steps: how many steps to time, each waited for.
      warmup_seconds: how long to run before: accelerators slow down as they warm up.

    Returns:
      `compile_seconds`, the median, fastest and slowest `step_ms`, `tokens_per_second` and
      `real_tokens_per_second` at the median, `mfu` if the peak is known.
    """
    devices, parallelism = all_devices(), Parallelism()
    local_rows(batch_size)  # complains if the batch cannot be shared out
    model, optimizer = BertForPreTraining(config), make_optimizer()
    init = jax.jit(partial(init_state, model, optimizer))
    state = place(init(stream_key(0, Stream.INIT)), devices, parallelism)
    train_step = make_train_step(model, optimizer, lambda *_: 1e-4)
    step = parallel_train_step(train_step, devices, state, parallelism)
    notes = make_notes(devices)
    host_batch = synthetic_batch(config, batch_size=batch_size, seq_len=seq_len)
    batch = shard_batch(host_batch, devices)
    key = stream_key(0, Stream.DROPOUT)

    def timed_step() -> float:
        nonlocal state
        begin = time.perf_counter()
        state, sums, _ = step(state, batch, notes, key)
        jax.block_until_ready(sums)
        return time.perf_counter() - begin

    compile_seconds = timed_step()
    end = time.perf_counter() + warmup_seconds
    while time.perf_counter() < end:
        timed_step()
    seconds = [timed_step() for _ in range(num_steps)]
    median = statistics.median(seconds)
    figures = {
        "compile_seconds": compile_seconds,
        "step_ms": median * 1e3,
        "fastest_step_ms": min(seconds) * 1e3,
        "slowest_step_ms": max(seconds) * 1e3,
        "tokens_per_second": batch_size * seq_len / median,
        "real_tokens_per_second": int(host_batch["lengths"].sum()) / median,
    }
    flops = training_flops_per_token(
        config, seq_len=seq_len, num_predictions=host_batch["mlm_ids"].shape[1]
    )
    figures["model_gflops_per_second"] = figures["tokens_per_second"] * flops / 1e9
    if peak := peak_flops(devices[0].device_kind, jax.device_count()):
        figures["mfu"] = figures["tokens_per_second"] * flops / peak
    return figures


def main(arguments: list[str]) -> None:
    """Parses the command line, times and prints."""
    parser = cli.Parser(
        "benchmark",
        "Times the training step on synthetic batches: rows 90 to 100 % full, 15 % of the tokens "
        "masked. MFU counts 6·(12·L·D² + f·(D² + D·V)) + 12·L·D·T operations a token, f = P/T.",
        example="python -m bert_jax.benchmark --size tiny --batch 64 --seq-len 128",
    )
    parser.add_argument("--size", choices=SIZES, default="tiny", help="model (default: tiny)")
    parser.add_argument("--seq-len", type=int, default=128, metavar="T", help="default: 128")
    parser.add_argument("--batch", type=int, default=32, metavar="B", help="default: 32")
    parser.add_argument(
        "--vocab-size", type=int, default=30_522, metavar="V", help="default: 30522"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="default: float32")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="timed (default: 20)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    for name, least in (("seq_len", 8), ("batch", 1), ("vocab_size", 2), ("steps", 1)):
        if getattr(options, name) < least:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is {getattr(options, name)}; it must be at least {least}")

    config = BertConfig(
        vocab_size=options.vocab_size,
        max_positions=max(512, options.seq_len),
        dtype=options.dtype,
        **SIZES[options.size],
    )
    set_flags()
    figures = time_steps(
        config,
        batch_size=options.batch,
        seq_len=options.seq_len,
        num_steps=options.steps,
        warmup_seconds=2.0,
    )
    console = Console()
    if options.json:
        console.say(json.dumps(figures))
        return
    rows = [
        ("devices", describe_devices()),
        ("first step", f"{figures['compile_seconds']:.1f} s, with compilation"),
        (
            "step",
            f"{figures['step_ms']:.1f} ms (median of {options.steps}; "
            f"{figures['fastest_step_ms']:.1f} to {figures['slowest_step_ms']:.1f})",
        ),
        ("tokens/s", f"{figures['tokens_per_second']:,.0f} with padding"),
        ("real tokens/s", f"{figures['real_tokens_per_second']:,.0f}"),
        ("model GFLOP/s", f"{figures['model_gflops_per_second']:,.0f}"),
        ("MFU", f"{figures['mfu']:.1%}" if "mfu" in figures else "unknown peak of this device"),
    ]
    shape = f"batch {options.batch} × {options.seq_len}, {options.dtype}"
    console.table(f"BERT-{options.size}, {shape}, V {options.vocab_size:,}", rows)


if __name__ == "__main__":
    cli.run(main)
