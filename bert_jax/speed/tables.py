"""What the benchmark found, as a person reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

from bert_jax.console import Console, figure, size
from bert_jax.speed.kernels import Profile
from bert_jax.speed.timing import Row

_UNKNOWN = "unknown peak of this device"


def show_figures(console: Console, title: str, figures: Mapping[str, Any], devices: str) -> None:
    """One step, in a table."""
    shares = [figures["mfu"], figures["padded_mfu"]]
    mfu, padded_mfu = (f"{share:.1%}" if share else _UNKNOWN for share in shares)
    console.table(
        title,
        [
            ("devices", devices),
            ("compilation", f"{figures['compile_seconds']:.1f} s"),
            ("step", f"{figures['step_ms']:.1f} ms, median of {figures['steps']}"),
            (
                "spread",
                f"half of them {figures['lower_step_ms']:.1f} to {figures['upper_step_ms']:.1f} "
                f"ms, all {figures['fastest_step_ms']:.1f} to {figures['slowest_step_ms']:.1f}",
            ),
            ("sequences/s", f"{figures['sequences_per_second']:,.1f}"),
            ("tokens/s", f"{figures['tokens_per_second']:,.0f} with padding"),
            ("real tokens/s", f"{figures['real_tokens_per_second']:,.0f}"),
            (
                "model GFLOP/s",
                f"{figures['model_gflops_per_second']:,.0f}, "
                f"{figures['padded_gflops_per_second']:,.0f} with padding",
            ),
            ("MFU", mfu),
            ("MFU with padding", padded_mfu),
            ("peak memory", f"{size(figures['peak_memory_bytes'])} of a device"),
        ],
    )


def show_sweep(console: Console, title: str, rows: Sequence[Row], devices: str) -> None:
    """A line for each batch size."""
    console.say(f"\n{title}, {devices}")
    header = ["batch", "compile s", "step ms", "sequences/s", "tokens/s", "real tokens/s"]
    header += ["MFU", "with padding", "peak memory"]
    lines = []
    for row in rows:
        figures = row.figures
        if figures is None:
            lines.append([f"{row.batch_size:,}", "out of memory", *[""] * (len(header) - 2)])
            continue
        lines.append(
            [
                f"{row.batch_size:,}",
                f"{figures['compile_seconds']:.1f}",
                f"{figures['step_ms']:.1f}",
                f"{figures['sequences_per_second']:,.1f}",
                f"{figures['tokens_per_second']:,.0f}",
                f"{figures['real_tokens_per_second']:,.0f}",
                *(
                    f"{figures[name]:.1%}" if figures[name] else "?"
                    for name in ("mfu", "padded_mfu")
                ),
                size(figures["peak_memory_bytes"]),
            ]
        )
    console.grid(header, lines)


def show_comparison(console: Console, title: str, found: Mapping[str, Any], program: str) -> None:
    """Ours beside theirs."""
    console.say(f"\n{title}, on one device")
    sides = [found["ours"], found["theirs"]]
    formats = {
        "first_step_seconds": ("first step, s", ".1f"),
        "step_ms": ("step, ms", ".1f"),
        "sequences_per_second": ("sequences/s", ",.1f"),
        "tokens_per_second": ("tokens/s", ",.0f"),
        "real_tokens_per_second": ("real tokens/s", ",.0f"),
    }
    lines = [
        [name, *(format(side[key], how) for side in sides)] for key, (name, how) in formats.items()
    ]
    threads = found["threads"]
    lines.append(["cores, threads", str(threads["ours"]), str(threads["theirs"])])
    console.grid(["", "bert_jax", program], lines)
    ratios = found["ratios"]
    console.say(
        f"{found['ratio']:.2f} times as fast, median of {len(ratios)} rounds of "
        f"{found['steps_per_round']} steps each, in turns; of all rounds: "
        + " ".join(f"{ratio:.2f}" for ratio in ratios)
    )


def show_profile(console: Console, profile: Profile) -> None:
    """Groups, then the longest kernels."""
    whole = profile.step_ms
    lines = [
        [group, f"{usage.ms:.2f}", f"{usage.ms / whole:.1%}", figure(usage.runs)]
        for group, usage in profile.groups.items()
    ]
    lines.append(["idle", f"{profile.idle_ms:.2f}", f"{profile.idle_ms / whole:.1%}", ""])
    lines.append(["traced step", f"{whole:.2f}", "", ""])
    console.say("\nwhere a step's time goes; moments of several kernels are shared among them")
    console.grid(["group", "ms", "share", "kernels"], lines)
    console.say("\nlongest kernels")
    console.grid(
        ["kernel", "ms", "times"],
        [[k.name, f"{usage.ms:.3f}", figure(usage.runs)] for k, usage in profile.kernels],
    )
    console.say()
    for kernel, _ in profile.kernels:
        console.say(f"{kernel.name}: {kernel.group}; {kernel.path or 'made by XLA'}")


def show_input(console: Console, stages: Sequence[Mapping[str, Any]], device_rate: float) -> None:
    """A table for each stage of a run."""
    for found in stages:
        rate = {key: f"{found[f'{key}_per_second'] / 1e6:,.2f} M tokens/s" for key in _RATES}
        console.table(
            f"input of stage {found['stage']}: {found['batch_size']} × {found['seq_len']} tokens",
            [
                ("planning an epoch", f"{found['planning_seconds']:.2f} s"),
                ("first batch", f"{found['first_batch_seconds']:.3f} s"),
                ("resuming at the end", f"{found['resuming_seconds']:.2f} s"),
                ("one core", f"{rate['core_tokens']}, {rate['core_real_tokens']} real"),
                (
                    f"tf.data, {found['num_cores']} cores",
                    f"{rate['pipeline_tokens']}, {rate['pipeline_real_tokens']} real",
                ),
                (
                    f"cores for {device_rate / 1e6:.1f} M/s",
                    f"{figure(found['cores_for_device'])}; "
                    "an H100 takes that of a base model at 45 % MFU",
                ),
                ("step, fixed batch", f"{found['fixed_step_ms']:.1f} ms"),
                ("step, fed", f"{found['fed_step_ms']:.1f} ms"),
                ("input stall", f"{found['input_stall']:.1%} of the devices' time"),
            ],
        )


_RATES = ("core_tokens", "core_real_tokens", "pipeline_tokens", "pipeline_real_tokens")
