"""The text of optimised HLO, taken apart: computations, and the instructions in them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = re.compile(r"^(?:ENTRY )?%?(\S+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(\S+) = (.*)$")
_OPERAND = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|true_computation|false_computation|branch_computations)="
    r"\{?((?:%[\w.\-]+(?:, )?)+)"
)
_LAYER = re.compile(r"layer_\d+")


class Instruction(NamedTuple):
    """A line of HLO.

    Attributes:
      shape: of its result, as HLO writes it.
      operands: names of other instructions.
      rest: attributes and metadata.
    """

    name: str
    opcode: str
    shape: str
    operands: list[str]
    rest: str

    @property
    def target(self) -> str:
        """What a custom call calls, with the epilogue of a matrix product."""
        found = re.search(r'custom_call_target="([^"]*)"', self.rest)
        epilogue = re.search(r'"epilogue":"(\w+)"', self.rest)
        words = [found[1] if found else "", epilogue[1] if epilogue else ""]
        return " ".join(word for word in words if word and word != "DEFAULT")

    @property
    def path(self) -> str:
        """Of the modules and scopes it comes from; "" if XLA made it."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""

    @property
    def source(self) -> str:
        """The same with all layers taken together."""
        return _LAYER.sub("layer_*", self.path) or "?"

    def called(self) -> Iterator[str]:
        """Names of the computations that it runs or holds."""
        for match in _CALLED.finditer(self.rest):
            yield from _OPERAND.findall(match[2])


def read_computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of each computation, and the name of the one that is run.

    Raises:
      ValueError: the text is no HLO.
    """
    found: dict[str, list[Instruction]] = {}
    name = entry = ""
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name = header[1]
            found[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name and (match := _INSTRUCTION.match(line)):
            found[name].append(_instruction(match[1], match[2]))
    if not entry:
        raise ValueError("no HLO: there is no ENTRY")
    return found, entry


def _instruction(name: str, text: str) -> Instruction:
    """Takes "f32[2]{0} add(%a, %b), metadata={...}" apart."""
    end = _closing(text) if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].lstrip()
    opcode = text[: text.index("(")]
    text = text[len(opcode) :]
    end = _closing(text)
    return Instruction(name, opcode, shape, _OPERAND.findall(text[:end]), text[end:])


def _closing(text: str) -> int:
    """Where the parenthesis that a text begins with is closed."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place + 1
    raise ValueError(f"no HLO: {text[:80]}")
