"""Compiles the training step for an H100 where there is none, and counts what it does.

python benchmarks/gpu_program.py --size base --batch 512

Needs JAX's CUDA plug-in, in an environment of its own (5 GB; no driver, no GPU):
pip install "jax[cuda13]" flax optax jaxtyping ml_collections tqdm. Fusions, epilogues, copies
and memory are the real program's. There are no times, and nothing was tuned: libraries'
algorithms and the tiles of matrix products are defaults.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing runs on what is compiled for

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import jax

from bert_jax import cli
from bert_jax.console import Console, size
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import ACTIVATIONS, ATTENTIONS, DTYPES, SIZES, BertConfig
from bert_jax.speed.compiled import compiled_step, h100
from bert_jax.speed.kernels import name_kernels
from bert_jax.speed.program import Program, read_program
from bert_jax.speed.synthetic import synthetic_batch

# Of an H100 SXM: its data sheet's memory, and what was measured of products alone.
_BYTES_PER_SECOND, _FLOPS = 3.35e12, 743e12

# What one looks for: data that is only moved, and the two that are slow when contended.
_MOVES = ("scatter", "gather", "transpose", "copy", "concatenate", "reduce", "sort", "fusion")


def groups(program: Program) -> list[tuple[str, str, int, int]]:
    """Kernels that come from the same line of the model: what, where, how many, bytes."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for kernel in program.kernels:
        line = kernel.instruction
        kind = line.target if line.opcode == "custom-call" else line.opcode
        found[kind, line.source].append(kernel.bytes)
    rows = [(kind, source, len(sizes), sum(sizes)) for (kind, source), sizes in found.items()]
    return sorted(rows, key=lambda row: -row[3])


def by_purpose(text: str, program: Program) -> list[tuple[str, int, float]]:
    """What kernels are for, as `benchmark --profile` has it: how many, and the least time.

    In milliseconds of an H100: its 3.35 TB/s for their bytes or, if that is longer, 743 TFLOP/s
    for their products, which cuBLASLt reached with such widths (D = 768).
    """
    known = name_kernels(text)
    found: dict[str, list[float]] = defaultdict(list)
    for kernel in program.kernels:
        seconds = max(kernel.bytes / _BYTES_PER_SECOND, kernel.flops / _FLOPS)
        found[known[kernel.instruction.name].group].append(1e3 * seconds)
    rows = [(group, len(times), sum(times)) for group, times in found.items()]
    return sorted(rows, key=lambda row: -row[2])


def main(arguments: list[str]) -> None:
    """Compiles, counts and prints."""
    parser = cli.Parser(
        "",
        "Compiles the training step for an H100 on any machine, and counts what it does.",
        example="python benchmarks/gpu_program.py --size base --batch 512 --seq-len 128",
    )
    parser.prog = "python benchmarks/gpu_program.py"
    parser.add_argument("--size", choices=SIZES, default="base", help="model (default: base)")
    parser.add_argument("--layers", type=int, default=0, metavar="L", help="default: the size's")
    parser.add_argument("--seq-len", type=int, default=128, metavar="T", help="default: 128")
    parser.add_argument("--batch", type=int, default=512, metavar="B", help="default: 512")
    parser.add_argument(
        "--vocab-size", type=int, default=30_522, metavar="V", help="default: 30522"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="default: bfloat16")
    parser.add_argument("--activation", choices=ACTIVATIONS, default="gelu", help="default: gelu")
    parser.add_argument(
        "--attention",
        choices=[name for name in ATTENTIONS if name != "auto"],  # which asks the devices there are
        help="default: cudnn if it can, as a run on that GPU would",
    )
    parser.add_argument(
        "--examples-per-row", type=int, default=1, metavar="K", help="packed rows (default: 1)"
    )
    for name in ("dropout", "attention-dropout"):
        parser.add_argument(f"--{name}", type=float, default=0.1, metavar="P", help="default: 0.1")
    parser.add_argument("--top", type=int, default=25, metavar="N", help="groups shown (25)")
    parser.add_argument("--hlo", type=Path, metavar="FILE", help="write the optimised HLO there")
    parser.add_argument("--cpu", action="store_true", help="compile for this machine's CPU instead")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    options = parser.parse_args(arguments)

    shape = dict(SIZES[options.size])
    if options.layers:
        shape["num_layers"] = options.layers
    if options.cpu or options.attention_dropout or options.dtype != "bfloat16":
        options.attention = options.attention or "einsum"
    config = BertConfig(
        vocab_size=options.vocab_size,
        max_positions=max(512, options.seq_len),
        dtype=options.dtype,
        activation=options.activation,
        attention=options.attention or "cudnn",
        dropout=options.dropout,
        attention_dropout=options.attention_dropout,
        **shape,
    )
    batch = synthetic_batch(
        config,
        batch_size=options.batch,
        seq_len=options.seq_len,
        examples_per_row=options.examples_per_row,
    )
    device = jax.devices("cpu")[0] if options.cpu else h100()
    begin = time.perf_counter()
    compiled = compiled_step(BertForPreTraining(config), batch, device)
    seconds = time.perf_counter() - begin
    text = compiled.as_text() or ""
    if options.hlo:
        options.hlo.write_text(text)
    report(options, config, compiled, text, seconds=seconds)


def report(
    options: argparse.Namespace,
    config: BertConfig,
    compiled: jax.stages.Compiled,
    text: str,
    *,
    seconds: float,
) -> None:
    """Prints the counts; `text` is the optimised HLO, `seconds` went into compiling."""
    program = read_program(text)
    console, memory = Console(), compiled.memory_analysis()
    purposes = by_purpose(text, program)
    if options.json:
        figures = {
            "compile_seconds": seconds,
            "kernels": len(program.kernels),
            "counts": {name: program.count(name) for name in _MOVES},
            "custom_calls": dict(program.custom_calls),
            "bytes": program.bytes,
            "matmul_flops": program.flops,
            "least_ms": {group: least for group, _, least in purposes},
            "temp_bytes": memory.temp_size_in_bytes,
            "argument_bytes": memory.argument_size_in_bytes,
        }
        console.say(json.dumps(figures))
        return
    console.table(
        f"BERT-{options.size}, {config.num_layers} layers, batch {options.batch} × "
        f"{options.seq_len}, {options.dtype}, {config.activation}, {config.attention}, "
        f"dropout {options.dropout:g}, of attention {options.attention_dropout:g}",
        [
            ("compiled in", f"{seconds:.1f} s"),
            ("kernels", f"{len(program.kernels):,}"),
            *(
                (name, f"{program.outside[name]:,} and {program.fused[name]:,} in fusions")
                for name in _MOVES
            ),
            *((name, f"{number:,}") for name, number in program.custom_calls.most_common()),
            ("bytes", size(program.bytes)),
            ("matrix products", f"{program.flops / 1e12:.2f} TFLOP"),
            ("working memory", size(memory.temp_size_in_bytes)),
            ("arguments", size(memory.argument_size_in_bytes)),
        ],
    )
    rows = [[group, f"{number:,}", f"{least:.1f}"] for group, number, least in purposes]
    total = ["together", f"{len(program.kernels):,}", f"{sum(row[2] for row in purposes):.1f}"]
    console.grid(["what for", "kernels", "least ms on an H100"], [*rows, total])
    console.say("\nwhere the bytes go")
    for kind, source, number, total in groups(program)[: options.top]:
        console.say(f"  {size(total):>9}  {number:>4} × {kind:<32} {source}")


if __name__ == "__main__":
    cli.run(main)
