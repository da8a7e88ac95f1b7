"""Where the time of a step goes: a trace of its kernels, in groups that a person can read.

XLA names the kernels, JAX what they were made of: in the compiled program every instruction
carries the path of modules and scopes that it comes from.
"""

import gzip
import itertools
import json
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from bert_jax.errors import MachineError
from bert_jax.speed.hlo import Instruction, read_computations
from bert_jax.speed.timing import JaxStep

# A group and what it is known by: opcode and path of an instruction, as "opcode path". An
# instruction belongs to the first group that knows it, a fusion to the first that knows any of
# its members: a product with the bias, the activation and the residual in it is a matmul.
GROUPS = [
    # Before the matmuls, for its products are its own; the three projections are not.
    ("attention", r"/attention/self/(?!(query|key|value)/)(?!.*[Dd]ropout)|fmha"),
    ("matmul", r"^(dot|convolution) |^custom-call \S*(gemm|matmul)"),
    ("between devices", r"^(all-|reduce-scatter|collective-)|/psum\b"),
    ("layer norm", r"/LayerNorm/"),
    ("dropout", r"/[Dd]ropout(_\d+)?/"),
    ("embedding", r"/embeddings/"),
    ("head and loss", r"/(predictions|seq_relationship)/|\bjvp\(losses\)|/losses/"),
    ("optimizer", r"/optimizer/"),
    ("activation and bias", r"/(intermediate|dense|query|key|value)/"),
]
OTHER = "other"

# They compute nothing, and may bear the path of what they pass on.
_PASSING = ("parameter", "constant", "bitcast", "tuple", "get-tuple-element")
# They hold others, which are kernels themselves.
_HOLDERS = ("while", "conditional", "call")
_TOP = 10


class Kernel(NamedTuple):
    """An instruction of the compiled step.

    Attributes:
      name: XLA's.
      opcode: such as "fusion".
      path: of the modules and scopes it comes from, "" if XLA made it.
      group: of `GROUPS`, or "other".
    """

    name: str
    opcode: str
    path: str
    group: str


class Usage(NamedTuple):
    """Time of a group or kernel: milliseconds a step, and how often it runs in one."""

    ms: float
    runs: float


class Profile(NamedTuple):
    """A traced step.

    Attributes:
      step_ms: wall time of one, traced.
      groups: by group, the longest first; together with `idle_ms` they are `step_ms`.
      kernels: the longest ones.
      idle_ms: in which a device did nothing.
    """

    step_ms: float
    groups: dict[str, Usage]
    kernels: list[tuple[Kernel, Usage]]
    idle_ms: float

    def plain(self) -> dict:
        """The same as JSON takes it."""
        return {
            "step_ms": self.step_ms,
            "idle_ms": self.idle_ms,
            "groups": {group: usage._asdict() for group, usage in self.groups.items()},
            "kernels": [kernel._asdict() | usage._asdict() for kernel, usage in self.kernels],
        }


def group_of(members: Iterable[str]) -> str:
    """The group of instructions that run as one kernel, each as "opcode path"."""
    members = list(members)
    for group, pattern in GROUPS:
        if any(re.search(pattern, member) for member in members):
            return group
    return OTHER


def name_kernels(text: str) -> dict[str, Kernel]:
    """The instructions of an optimised HLO text, by name."""
    computations, _ = read_computations(text)

    def known_by(line: Instruction) -> str:
        return f"{line.opcode} {line.target} {line.path}"

    found = {}
    for line in itertools.chain.from_iterable(computations.values()):
        members = [known_by(line)]
        if line.opcode == "fusion":
            inside = itertools.chain.from_iterable(computations[name] for name in line.called())
            members += [known_by(one) for one in inside if one.opcode not in _PASSING]
        found[line.name] = Kernel(line.name, line.opcode, line.path, group_of(members))
    return found


def profile_steps(step: JaxStep, num_steps: int) -> Profile:
    """Traces steps that are compiled and warm.

    Raises:
      MachineError: the trace names none of their kernels.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # nothing asks for it, and it slows the steps down
        jax.profiler.start_trace(folder, profiler_options=options)
        try:
            begin = time.perf_counter()
            for _ in range(num_steps):
                step.wait(step.dispatch())
            seconds = time.perf_counter() - begin
        finally:
            jax.profiler.stop_trace()
        (file,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    return summarize(
        events,
        name_kernels(step.program.get_hlo_text()),
        step_ms=seconds * 1e3 / num_steps,
        num_steps=num_steps,
        num_devices=len(step.devices),
    )


def summarize(
    events: Iterable[Mapping[str, Any]],
    kernels: Mapping[str, Kernel],
    *,
    step_ms: float,
    num_steps: int,
    num_devices: int,
) -> Profile:
    """Adds up what the kernels took.

    Args:
      events: of the trace, times in microseconds.
      kernels: of the step, by name.
      step_ms: wall time of a step.
      num_steps: traced.
      num_devices: whose kernels are in the trace; the figures are of one, on average.

    Raises:
      MachineError: it names none of them.
    """
    running: dict[Any, list[tuple[float, float, Kernel]]] = defaultdict(list)  # by device
    for event in events:
        arguments = event.get("args", {})
        kernel = kernels.get(arguments.get("hlo_op", event.get("name")))
        if event.get("ph") == "X" and kernel and kernel.opcode not in _HOLDERS:
            device = arguments.get("device_ordinal", event["pid"])
            begin = float(event["ts"])
            running[device].append((begin, begin + event["dur"], kernel))
    if not running:
        raise MachineError("the profiler of this device names no kernels; see train --profile")
    spent: dict[Kernel, float] = defaultdict(float)
    runs: Counter[Kernel] = Counter()
    for spans in running.values():
        for kernel, share in _shares(spans).items():
            spent[kernel] += share
        runs.update(kernel for _, _, kernel in spans)
    times = num_steps * num_devices
    usage = {k: Usage(spent[k] / 1e3 / times, runs[k] / times) for k in runs}
    groups: dict[str, Usage] = {}
    for kernel, (ms, often) in usage.items():
        of = groups.get(kernel.group, Usage(0.0, 0.0))
        groups[kernel.group] = Usage(of.ms + ms, of.runs + often)
    longest = sorted(usage.items(), key=lambda item: -item[1].ms)
    return Profile(
        step_ms=step_ms,
        groups=dict(sorted(groups.items(), key=lambda item: -item[1].ms)),
        kernels=longest[:_TOP],
        idle_ms=step_ms - sum(of.ms for of in groups.values()),
    )


def _shares(spans: list[tuple[float, float, Kernel]]) -> dict[Kernel, float]:
    """Of every moment in which k kernels of a device run, each gets a k-th."""
    moments = sorted(
        moment
        for number, (begin, end, _) in enumerate(spans)
        for moment in ((begin, 1, number), (end, 0, number))
    )
    shares: dict[Kernel, float] = defaultdict(float)
    active: set[int] = set()
    last = 0.0
    for at, is_begin, number in moments:
        for one in active:
            shares[spans[one][2]] += (at - last) / len(active)
        last = at
        if is_begin:
            active.add(number)
        else:
            active.discard(number)
    return shares
