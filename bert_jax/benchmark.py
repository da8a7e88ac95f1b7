"""Times the training step on synthetic batches, and what it is compared with.

python -m bert_jax.benchmark --size tiny
"""

import argparse
import json
import math
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import jax

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.errors import UserError
from bert_jax.model.sizes import ACTIVATIONS, ATTENTIONS, DTYPES, SIZES, BertConfig
from bert_jax.speed.kernels import profile_steps
from bert_jax.speed.synthetic import PREDICTIONS
from bert_jax.speed.tables import (
    show_comparison,
    show_figures,
    show_input,
    show_profile,
    show_sweep,
)
from bert_jax.speed.timing import Row, Work, make_step, sweep, time_steps
from bert_jax.speed.torch_steps import compare, leave_memory
from bert_jax.training.compilation import set_flags
from bert_jax.training.parallel import all_devices, describe_devices, local_rows

_DESCRIPTION = """\
Times the training step on synthetic batches, in its steady state.

MFU is model FLOPs utilisation: 6·(L·(4·D² + 2·D·F)·Σn + p·(D² + D·V)) + 12·L·D·Σn² operations a
step, by its time and the bfloat16 peak of the devices; n real tokens of each example, p real
predictions. Published figures count padding too: "MFU with padding" is
6·(L·(4·D² + 2·D·F) + f·(D² + D·V)) + 12·L·D·T a token of the batch, f = P/T; with F = 4·D its first
part is 6·12·L·D². Look-ups, LayerNorm, softmax and the optimizer are not counted."""

# Flags that mean something beside --input.
_WITH_INPUT = {"input", "workdir", "steps", "warmup", "json", "debug", "sweep", "vs", "profile"}

# Of a device: a batch that fills one, or that a CPU computes in a second or so.
_TOKENS = {"cpu": 4_096, "gpu": 65_536, "tpu": 32_768}


def _parser() -> cli.Parser:
    parser = cli.Parser(
        "benchmark",
        _DESCRIPTION,
        example="python -m bert_jax.benchmark --size tiny --batch 64 --seq-len 128\n"
        "  python -m bert_jax.benchmark --size base --sweep --json\n"
        "  python -m bert_jax.benchmark --size base --vs torch-compile --predictions all\n"
        "  python -m bert_jax.benchmark --input configs/tiny.py",
    )
    add = parser.add_argument
    add("--size", choices=SIZES, default="tiny", help="model (default: tiny)")
    add("--seq-len", type=int, default=128, metavar="T", help="tokens of a row (default: 128)")
    add(
        "--batch",
        type=int,
        metavar="B",
        help="rows (default: of 65,536 tokens for a GPU, 32,768 for a TPU, 4,096 for a CPU)",
    )
    add("--vocab-size", type=int, default=30_522, metavar="V", help="default: 30522")
    add("--dtype", choices=DTYPES, help="default: bfloat16 on an accelerator, float32 on a CPU")
    add("--attention", choices=ATTENTIONS, default="auto", help="default: auto")
    add("--activation", choices=ACTIVATIONS, default="gelu", help="default: gelu")
    add("--dropout", type=float, default=0.1, metavar="RATE", help="default: 0.1")
    add("--attention-dropout", type=float, default=0.1, metavar="RATE", help="default: 0.1")
    add(
        "--padding",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="its mean; lengths are uniform in 1 − 2·SHARE to 1 of T (default: 0.05)",
    )
    add("--examples-per-row", type=int, default=1, metavar="K", help="packed rows (default: 1)")
    add(
        "--predictions",
        choices=PREDICTIONS,
        default="masked",
        help="where the vocabulary head is computed: at 15 %% of the tokens, or at all "
        "(default: masked)",
    )
    add("--micro-batch", type=int, default=0, metavar="ROWS", help="of a device at a time")
    add("--steps", type=int, default=20, metavar="N", help="timed (default: 20)")
    add("--warmup", type=float, default=2.0, metavar="SECONDS", help="before (default: 2)")
    add(
        "--sweep",
        type=int,
        nargs="*",
        metavar="B",
        help="these batch sizes, or doubling ones from --batch until memory runs out or nothing "
        "is gained",
    )
    add(
        "--vs",
        choices=("torch", "torch-compile"),
        help="beside BertForPreTraining of transformers, in turns; its head is at every token, "
        "so add --predictions all for the same work",
    )
    add(
        "--profile",
        type=int,
        nargs="?",
        const=5,
        metavar="STEPS",
        help="trace steps (5) and add up their kernels by what they are for",
    )
    add(
        "--input",
        metavar="CONFIG",
        help="time the input pipeline of a run, alone and with its step; takes --workdir and "
        "--config.SECTION.KEY=VALUE as train does, and prepares the text there as train would",
    )
    add("--workdir", type=Path, metavar="FOLDER", help="of --input (default: runs/NAME of CONFIG)")
    add("--json", action="store_true", help="print all figures as JSON")
    return parser


def _check(parser: cli.Parser, options: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Complains of what the modules do not."""
    if overrides and not options.input:
        parser.error(f"unrecognized arguments: {' '.join(overrides)}")
    if options.workdir and not options.input:
        parser.error("--workdir goes with --input")
    ignored = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if name not in _WITH_INPUT and value != parser.get_default(name)
    ]
    if options.input and ignored:
        parser.error(f"{ignored[0]} is the config's to say: --input takes --config.SECTION.KEY")
    asked = {
        "--sweep": options.sweep is not None,
        "--vs": options.vs,
        "--profile": options.profile is not None,
        "--input": options.input,
    }
    chosen = [flag for flag, is_given in asked.items() if is_given]
    if len(chosen) > 1:
        parser.error(f"{' and '.join(chosen)} are different questions; ask one at a time")
    least = {
        "seq_len": 8,
        "batch": 1,
        "vocab_size": 2,
        "steps": 1,
        "warmup": 0,
        "micro_batch": 0,
        "profile": 1,
    }
    for name, smallest in least.items():
        value = getattr(options, name)
        if value is not None and not value >= smallest:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is {value:g}; it must be at least {smallest}")
    if not math.isfinite(options.warmup):
        raise UserError(f"--warmup is {options.warmup:g}; it is a number of seconds")
    if options.sweep and min(options.sweep) < 1:
        raise UserError(f"--sweep has {min(options.sweep)}; batch sizes must be at least 1")


def _work(options: argparse.Namespace) -> Work:
    """What the flags ask for, the rest chosen for the devices."""
    platform_name = jax.default_backend()
    num_devices = 1 if options.vs else jax.device_count()  # one is compared with one
    tokens = _TOKENS.get(platform_name, _TOKENS["cpu"]) * num_devices
    rows = max(1, tokens // options.seq_len // num_devices) * num_devices
    dtype = options.dtype or ("float32" if platform_name == "cpu" else "bfloat16")
    return Work(
        config=BertConfig(
            vocab_size=options.vocab_size,
            max_positions=max(512, options.seq_len),
            dtype=dtype,
            attention=options.attention,
            activation=options.activation,
            dropout=options.dropout,
            attention_dropout=options.attention_dropout,
            **SIZES[options.size],
        ),
        batch_size=options.batch or rows,
        seq_len=options.seq_len,
        padding=options.padding,
        examples_per_row=options.examples_per_row,
        predictions=options.predictions,
        micro_batch_size=options.micro_batch,
    )


def main(arguments: list[str]) -> None:
    """Parses the command line, times and prints."""
    parser = _parser()
    options, overrides = parser.parse_known_args(arguments)
    _check(parser, options, overrides)
    set_flags()
    if options.vs:
        leave_memory()
    if options.profile:  # or a GPU's kernels run in graphs, which the trace does not look into
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_enable_command_buffer=".strip()
    console = Console()
    printed = Console(silent=options.json)
    if options.input:
        found = _measure_input(options, overrides, printed)
    else:
        found = _measure_steps(options, printed)
    if options.json:
        names = ("jax", "jaxlib")
        about = {
            "versions": {"python": platform.python_version()} | {n: version(n) for n in names},
            "device": describe_devices(),
            "flags": arguments,
        }
        about["versions"] |= found.pop("versions", {})
        console.say(json.dumps(found | about))


def _measure_steps(options: argparse.Namespace, console: Console) -> dict:
    """Everything but the input pipeline."""
    work = _work(options)
    config, times = work.config, {"num_steps": options.steps, "warmup_seconds": options.warmup}
    shape = f"T = {work.seq_len}, {config.dtype}"
    batch = f"batch {work.batch_size} × {work.seq_len}, {config.dtype}"
    name = f"BERT-{options.size}"
    if options.vs:
        found = compare(work, compiled=options.vs == "torch-compile", **times)
        everywhere = options.predictions == "all"
        title = f"{name}, {batch}, " + (
            "the same work" if everywhere else "as each is used: their head is at every token"
        )
        show_comparison(console, title, found, options.vs)
        return found | {"batch_size": work.batch_size}
    for batch_size in options.sweep or ():
        local_rows(batch_size, work.micro_batch_size)  # complains if it cannot be shared out
    if options.sweep is not None:
        rows: list[Row] = []
        with console.bar("sweep", total=len(options.sweep) or None, unit="batch size") as bar:
            for row in sweep(
                work,
                options.sweep,
                lambda one: time_steps(make_step(one, all_devices()), one, **times),
            ):
                rows.append(row)
                bar.update()
        show_sweep(console, f"{name}, {shape}", rows, describe_devices())
        return {"rows": [{"batch_size": row.batch_size} | (row.figures or {}) for row in rows]}
    step = make_step(work, all_devices())
    found = time_steps(step, work, **times) | {"batch_size": work.batch_size}
    show_figures(
        console,
        f"{name}, {batch}, V {config.vocab_size:,}",
        found | {"steps": options.steps},
        describe_devices(),
    )
    if options.profile:
        profile = profile_steps(step, options.profile)
        show_profile(console, profile)
        found["profile"] = profile.plain()
    return found


def _measure_input(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> dict:
    """The input pipeline of a run; only this needs TensorFlow."""
    from bert_jax.recipe import open_run
    from bert_jax.speed.input_rate import DEVICE_RATE, measure_input

    run_options = argparse.Namespace(config=options.input, workdir=options.workdir)
    recipe, run = open_run(run_options, overrides)
    with run.locked():
        stages = measure_input(
            recipe, run, console, num_steps=options.steps, warmup_seconds=options.warmup
        )
    show_input(console, stages, DEVICE_RATE)
    return {"stages": stages}


if __name__ == "__main__":
    cli.run(main)
