"""Prints what a step of BERT should take on many devices, and draws it.

  python -m experiments.scaling.plan

Of two figures with a dash the better one is where communication hides behind the backward pass
as far as it can, the worse one where it does not hide at all.
"""

import argparse
import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace as replaced
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")  # no screen
from matplotlib import pyplot

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.speed.synthetic import synthetic_batch
from bert_jax.training.memory import step_memory
from bert_jax.training.optimizer import make_optimizer
from experiments.scaling.hardware import (
    DEVICES,
    LARGEST_BATCH,
    MESSAGE_BYTES,
    MFU,
    PAPER_BATCH,
)
from experiments.scaling.model import (
    BFLOAT16,
    FLOAT32,
    Hardware,
    Links,
    Network,
    Plan,
    StepTime,
    describe,
    device_memory,
    effective_mfu,
    host_tokens_per_second,
    largest_micro_batch,
    sent_bytes,
    step_time,
)

COUNTS = tuple(2**power for power in range(3, 13))  # 8 to 4,096
SHOWN = (8, 32, 128, 256, 1024, 4096)
HIDDEN, OPEN = 1.0, 0.0
VOCABULARY = 30_522
STEP_HEADER = (
    "devices  rows each  passes  compute ms  f32 reduce ms  step ms  MFU %  "
    "bf16 reduce ms  step ms  MFU %  M tokens/s a host"
).split("  ")
SHARE_MASKED = 0.15


class Case(NamedTuple):
    """A model at a length of rows."""

    size: str
    network: Network
    activations_per_row: float

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.size}, T {self.network.seq_len}"

    @property
    def batches(self) -> dict[str, int]:
        """Rows of a global batch."""
        return {"paper": PAPER_BATCH, "LAMB": LARGEST_BATCH[self.network.seq_len]}


def make_case(size: str, seq_len: int) -> Case:
    """From shapes alone."""
    config = BertConfig(vocab_size=VOCABULARY, dtype="bfloat16", **SIZES[size])
    model, optimizer = BertForPreTraining(config), make_optimizer()
    few, more = (
        step_memory(model, optimizer, synthetic_batch(config, batch_size=rows, seq_len=seq_len))
        for rows in (1, 3)
    )
    return Case(
        size,
        describe(config, seq_len=seq_len, num_predictions=round(SHARE_MASKED * seq_len)),
        (more.activations - few.activations) / 2,
    )


def make_plan(case: Case, hardware: Hardware, *, devices: int, rows: int, mfu: float) -> Plan:
    """With the largest passes that fit into memory."""
    plan = Plan(devices=devices, rows=rows, mfu=mfu, overlap=HIDDEN, message_bytes=MESSAGE_BYTES)
    micro = largest_micro_batch(
        case.network, hardware, plan, activations_per_row=case.activations_per_row
    )
    return replaced(plan, micro_rows=micro)


def both(low: float, high: float, digits: int = 1) -> str:
    """A range, or one figure where both are the same."""
    first, last = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return first if first == last else f"{first}-{last}"


def ends(case: Case, hardware: Hardware, plan: Plan) -> tuple[StepTime, StepTime]:
    """With all hidden that can be, and with nothing hidden."""
    hidden, bare = (
        step_time(case.network, hardware, replaced(plan, overlap=overlap))
        for overlap in (HIDDEN, OPEN)
    )
    return hidden, bare


def counts_for(rows: int, shown: tuple[int, ...] = COUNTS) -> Iterator[int]:
    """Numbers of devices that each get a row at least."""
    return (count for count in shown if count <= rows)


def print_steps(console: Console, case: Case, hardware: Hardware, mfu: float) -> None:
    """The step at both batch sizes."""
    for batch, rows in case.batches.items():
        lines = []
        for count in counts_for(rows, SHOWN):
            plan = make_plan(case, hardware, devices=count, rows=rows, mfu=mfu)
            line = [f"{count:,}", f"{plan.device_rows:,}", str(plan.passes)]
            for element in (FLOAT32, BFLOAT16):
                reduced = replaced(plan, reduce_bytes=element)
                hidden, bare = ends(case, hardware, reduced)
                if element == FLOAT32:
                    line.append(f"{1e3 * (hidden.arithmetic + hidden.update):.1f}")
                low, high = (
                    100 * effective_mfu(case.network, hardware, replaced(reduced, overlap=overlap))
                    for overlap in (OPEN, HIDDEN)
                )
                line += [
                    f"{1e3 * bare.communication:.1f}",
                    both(1e3 * hidden.total, 1e3 * bare.total),
                    both(low, high, digits=0),
                ]
            need = host_tokens_per_second(case.network, hardware, plan) / 1e6
            lines.append([*line, f"{need:.2f}"])
        console.say(f"\n{hardware.name}: {case.name}, {rows:,} rows ({batch})")
        console.grid(STEP_HEADER, lines)


def first_bound(case: Case, hardware: Hardware, plans: list[Plan], overlap: float) -> str:
    """The first number of devices at which half of the step or more waits for the network."""
    for plan in plans:
        step = step_time(case.network, hardware, replaced(plan, overlap=overlap))
        if step.exposed >= step.total / 2:
            return f"{plan.devices:,}"
    return "never"


def print_limits(console: Console, cases: list[Case], hardware: Hardware, mfu: float) -> None:
    """From where on the network takes half of the step."""
    lines = []
    for case in cases:
        for batch, rows in case.batches.items():
            plans = [
                make_plan(case, hardware, devices=count, rows=rows, mfu=mfu)
                for count in counts_for(rows)
            ]
            line = [f"{case.name}, {rows:,} rows ({batch})"]
            for element in (FLOAT32, BFLOAT16):
                chosen = [replaced(plan, reduce_bytes=element) for plan in plans]
                line += [first_bound(case, hardware, chosen, end) for end in (OPEN, HIDDEN)]
            lines.append(line)
    console.say(f"\n{hardware.name}: devices from which the network takes half of the step")
    console.grid(("", "f32, none hidden", "hidden", "bf16, none hidden", "hidden"), lines)


def print_sharding(console: Console, cases: list[Case], hardware: Hardware, mfu: float) -> None:
    """What a device holds, and the step, with the moments whole and in parts."""
    lines = []
    for case in cases:
        for count in (8, 256):
            for sharded in (False, True):
                rows = case.batches["LAMB"]
                plan = Plan(
                    devices=count,
                    rows=rows,
                    shard_optimizer=sharded,
                    mfu=mfu,
                    overlap=OPEN,
                    message_bytes=MESSAGE_BYTES,
                )
                activations = case.activations_per_row
                micro = largest_micro_batch(
                    case.network, hardware, plan, activations_per_row=activations
                )
                plan = replaced(plan, micro_rows=micro)
                kept = device_memory(case.network, plan, activations_per_row=activations)
                step = step_time(case.network, hardware, plan)
                sent = sent_bytes(
                    case.network.num_parameters,
                    count,
                    reduce_bytes=FLOAT32,
                    gather_bytes=FLOAT32,
                )
                fixed = kept.parameters + kept.optimizer + kept.gradients
                lines.append(
                    (
                        f"{case.name}, {count} devices, {'in parts' if sharded else 'whole'}",
                        f"{kept.optimizer / 1e9:.2f}",
                        f"{fixed / 1e9:.2f}",
                        f"{micro:,}",
                        f"{sent / 1e9:.2f}",
                        f"{1e3 * step.update:.1f}",
                        f"{1e3 * step.total:.1f}",
                    )
                )
    console.say(f"\n{hardware.name}: moments whole or in parts, LAMB's batch, f32, none hidden")
    console.grid(
        ("", "moments GB", "with gradients", "rows at once", "sent GB", "update ms", "step ms"),
        lines,
    )


def draw(path: Path, cases: list[Case], hardware: list[Hardware], mfu: float) -> None:
    """Effective MFU at T 128 by number of devices."""
    cases = [case for case in cases if case.network.seq_len == 128]
    figure, axes = pyplot.subplots(
        len(cases),
        len(hardware),
        figsize=(4 * len(hardware), 3 * len(cases)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    colours = {
        ("paper", FLOAT32): "tab:red",
        ("paper", BFLOAT16): "tab:orange",
        ("LAMB", FLOAT32): "tab:blue",
        ("LAMB", BFLOAT16): "tab:green",
    }
    for row, case in zip(axes, cases, strict=True):
        for axis, device in zip(row, hardware, strict=True):
            for (batch, element), colour in colours.items():
                rows = case.batches[batch]
                counts = list(counts_for(rows))
                bands: list[list[float]] = [[], []]
                for count in counts:
                    plan = make_plan(case, device, devices=count, rows=rows, mfu=mfu)
                    plan = replaced(plan, reduce_bytes=element)
                    for band, overlap in zip(bands, (OPEN, HIDDEN), strict=True):
                        ended = replaced(plan, overlap=overlap)
                        band.append(100 * effective_mfu(case.network, device, ended))
                label = f"{rows:,} rows, {'float32' if element == FLOAT32 else 'bfloat16'}"
                axis.fill_between(counts, *bands, color=colour, alpha=0.25, linewidth=0)
                axis.plot(counts, bands[0], color=colour, label=label)
                axis.plot(counts, bands[1], color=colour, linestyle=":")
            axis.set_xscale("log", base=2)
            axis.set_xticks([8, 64, 512, 4096], ["8", "64", "512", "4,096"])
            axis.set_title(f"{case.size}, {device.name}", fontsize=10)
            axis.grid(alpha=0.3)
            axis.set_ylim(bottom=0)
    for axis in axes[:, 0]:
        axis.set_ylabel("MFU of the whole step, %")
    for axis in axes[-1]:
        axis.set_xlabel("devices")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=9)
    figure.suptitle("T 128: nothing of the reduction hidden (line), all that can be (dots)")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def adjusted(hardware: Hardware, options: argparse.Namespace) -> Hardware:
    """With the user's own figures, where there are any."""

    def links(given: Links, gigabytes: float | None) -> Links:
        return replaced(given, bandwidth=gigabytes * 1e9) if gigabytes else given

    return replaced(
        hardware,
        peak_flops=options.peak_tflops * 1e12 if options.peak_tflops else hardware.peak_flops,
        group=options.group or hardware.group,
        inside=links(hardware.inside, options.inside),
        between=links(hardware.between, options.between),
    )


def main(arguments: list[str]) -> None:
    """Parses the command line, prints and draws."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="example:\n  python -m experiments.scaling.plan --device h100 --between 12.5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = partial(parser.add_argument, type=float)
    parser.add_argument(
        "--device",
        nargs="+",
        choices=DEVICES,
        default=["h100", "v5e", "v4"],
        help="default: h100 v5e v4",
    )
    add("--mfu", default=MFU, help=f"of the arithmetic alone, 0 to 1 (default: {MFU})")
    add("--peak-tflops", help="of a device, instead of the table's")
    add("--group", type=int, metavar="N", help="devices with fast links, instead of the table's")
    add("--inside", metavar="GB/S", help="bandwidth of a device within a group")
    add("--between", metavar="GB/S", help="a device's share of the bandwidth between groups")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="also write plot.png and table.txt there"
    )
    options = parser.parse_args(arguments)
    for name in ("mfu", "peak_tflops", "group", "inside", "between"):
        given = getattr(options, name)
        if given is not None and given <= 0:
            raise UserError(f"--{name.replace('_', '-')} is {given}; it must be positive")
    if options.mfu > 1:
        raise UserError(f"--mfu is {options.mfu}; it is a share, such as {MFU}")
    hardware = [adjusted(DEVICES[name], options) for name in options.device]
    cases = [make_case(size, seq_len) for size in ("base", "large") for seq_len in LARGEST_BATCH]
    text = io.StringIO()
    with redirect_stdout(text):
        console = Console(quiet=True)
        for device in hardware:
            print_limits(console, cases, device, options.mfu)
            print_sharding(console, cases, device, options.mfu)
            for case in cases:
                print_steps(console, case, device, options.mfu)
    print(text.getvalue(), end="")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "table.txt").write_text(text.getvalue().lstrip())
        draw(options.output / "plot.png", cases, hardware, options.mfu)


if __name__ == "__main__":
    cli.run(main)
