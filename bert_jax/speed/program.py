"""What a compiled program does, counted in the text of its optimised HLO.

JAX's own `cost_analysis` says nothing of a program that was compiled for an absent GPU, and
nowhere how often data is copied or scattered.
"""

import re
from collections import Counter
from typing import NamedTuple

from bert_jax.speed.hlo import Instruction, read_computations

# Instructions that name or regroup what is there already, and those that only call others.
_FREE = frozenset(
    "parameter constant tuple get-tuple-element bitcast after-all partition-id replica-id "
    "while conditional call async-update async-done copy-done all-reduce-done".split()
)

_BITS = {"pred": 8, "token": 0, "opaque": 0, "s4": 4, "u4": 4}
_ARRAY = re.compile(r"\b([a-z]+[0-9]*[a-z0-9]*)\[([0-9,]*)\]")
_CONTRACTED = re.compile(r'lhs_contracting_dim(?:ension)?s"?[=:][\[{]([0-9,"]*)')


class Launch(NamedTuple):
    """Work that is launched on its own.

    Attributes:
      bytes: of its operands and results, each taken once and whole, though a gather reads a
        part; what is in a cache still counts.
      flops: of a matrix product; 0 for all else.
    """

    instruction: Instruction
    bytes: int
    flops: int


class Program(NamedTuple):
    """Counts of a program. What is in a loop counts once.

    Attributes:
      outside: instructions by opcode that run on their own.
      fused: those inside fusions.
      kernels: what is launched.
    """

    outside: Counter[str]
    fused: Counter[str]
    kernels: list[Launch]

    def count(self, opcode: str) -> int:
        """How often an instruction is there, in fusions and outside."""
        return self.outside[opcode] + self.fused[opcode]

    @property
    def custom_calls(self) -> Counter[str]:
        """Calls of libraries, by what they call."""
        calls = (kernel.instruction for kernel in self.kernels)
        return Counter(call.target for call in calls if call.opcode == "custom-call")

    @property
    def bytes(self) -> int:
        """Of all kernels."""
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def flops(self) -> int:
        """Of all matrix products; attention inside a library's kernel is not among them."""
        return sum(kernel.flops for kernel in self.kernels)


def read_program(text: str) -> Program:
    """Counts what a program does.

    Args:
      text: of optimised HLO, `compiled.as_text()`.
    """
    computations, entry = read_computations(text)
    outside: Counter[str] = Counter()
    fused: Counter[str] = Counter()
    kernels: list[Launch] = []

    def visit_fused(name: str) -> int:
        flops = 0
        shapes = {line.name: line.shape for line in computations[name]}
        for line in computations[name]:
            fused[line.opcode] += 1
            flops += _flops(line, shapes)
            if line.opcode == "fusion":
                flops += sum(map(visit_fused, line.called()))
        return flops

    def visit(name: str) -> None:
        shapes = {line.name: line.shape for line in computations[name]}
        for line in computations[name]:
            outside[line.opcode] += 1
            flops = _flops(line, shapes)
            if line.opcode == "fusion":
                flops = sum(map(visit_fused, line.called()))
            # Of a reduction, a scatter or a sort this is the arithmetic of two scalars.
            elif line.opcode in ("while", "conditional", "call", "async-start"):
                for called in line.called():
                    visit(called)
            if line.opcode not in _FREE and line.opcode != "async-start":
                moved = [line.shape, *(shapes[operand] for operand in line.operands)]
                kernels.append(Launch(line, sum(map(_num_bytes, moved)), flops))

    visit(entry)
    return Program(outside, fused, kernels)


def _dimensions(shape: str) -> list[int]:
    """Of an array, or of the first of a tuple."""
    found = _ARRAY.search(shape)
    return [int(size) for size in found[2].split(",") if size] if found else []


def _product(sizes: list[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _num_bytes(shape: str) -> int:
    total = 0
    for kind, sizes in _ARRAY.findall(shape):
        digits = re.search(r"\d+", kind)
        bits = _BITS.get(kind, int(digits[0]) if digits else 0)
        total += _product([int(size) for size in sizes.split(",") if size]) * bits // 8
    return total


def _flops(line: Instruction, shapes: dict[str, str]) -> int:
    """2·M·N·K of a matrix product."""
    found = _CONTRACTED.search(line.rest)
    if line.opcode not in ("dot", "custom-call") or not found:
        return 0
    left = _dimensions(shapes[line.operands[0]])
    contracted = [left[int(place)] for place in re.findall(r"\d+", found[1])]
    return 2 * _product(_dimensions(line.shape)) * _product(contracted)
