"""What the compiled step does: nothing is moved or scattered without a reason."""

from typing import NamedTuple

import jax
import pytest

from bert_jax.benchmark import synthetic_batch
from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.speed.compiled import compiled_step, h100
from bert_jax.speed.program import Program, read_program


class Bound(NamedTuple):
    """The most instructions of a kind in a step of two layers, and what they are for."""

    opcode: str
    most: int
    why: str


LOOK_UPS = "word embeddings, predicted positions, and the right answer's score in both losses"
CPU = [
    Bound("gather", 4, LOOK_UPS),
    Bound("scatter", 4, "gradients of the look-ups"),
    Bound("concatenate", 6, "indices of the scatters but the first"),
    Bound(
        "transpose", 47, "19 a layer to bring heads before tokens; gradients of biases and heads"
    ),
    Bound("copy", 450, "what 16 loops of threefry carry, two thirds; heads before tokens"),
]
GPU = [
    Bound("gather", 4, LOOK_UPS),
    Bound("scatter", 4, "gradients of the look-ups"),
    Bound("concatenate", 10, "indices of the scatters but the first; keys of dropout"),
    Bound("transpose", 28, "14 a layer, all to bring heads before tokens"),
    Bound("copy", 7, "scalars"),
]


def step_on(device: jax.Device, dtype: str) -> jax.stages.Compiled:
    config = BertConfig(
        vocab_size=1000, num_layers=2, num_heads=2, width=128, max_positions=64, dtype=dtype
    )
    batch = synthetic_batch(config, batch_size=8, seq_len=64)
    return compiled_step(BertForPreTraining(config), batch, device)


@pytest.fixture(scope="module")
def on_cpu() -> jax.stages.Compiled:
    return step_on(jax.devices("cpu")[0], "float32")


@pytest.fixture(scope="module")
def gpu_program() -> Program:
    try:
        device = h100()
    except UserError as error:
        pytest.skip(str(error))
    return read_program(step_on(device, "bfloat16").as_text() or "")


def test_bytes_and_flops_are_the_compiler_s(on_cpu: jax.stages.Compiled) -> None:
    program, theirs = read_program(on_cpu.as_text() or ""), on_cpu.cost_analysis()
    assert theirs is not None
    assert program.bytes == pytest.approx(theirs["bytes accessed"], rel=0.05)
    assert 0.8 * theirs["flops"] < program.flops < theirs["flops"]  # theirs count all arithmetic


@pytest.mark.parametrize("bound", CPU, ids=lambda bound: bound.opcode)
def test_a_step_on_a_cpu_moves_little(on_cpu: jax.stages.Compiled, bound: Bound) -> None:
    count = read_program(on_cpu.as_text() or "").count(bound.opcode)
    assert 0 < count <= bound.most, bound.why


@pytest.mark.parametrize("bound", GPU, ids=lambda bound: bound.opcode)
def test_a_step_on_a_gpu_moves_little(gpu_program: Program, bound: Bound) -> None:
    assert 0 < gpu_program.count(bound.opcode) <= bound.most, bound.why


def test_matrix_products_of_a_gpu_carry_their_bias(gpu_program: Program) -> None:
    calls = gpu_program.custom_calls
    # The pooler's and three of the heads; in each layer those of the attention's output and the
    # feed-forward part. The projections of a base model do so too, those of this one are fused.
    assert sum(number for name, number in calls.items() if "BIAS" in name) >= 4 + 2 * 3
    assert not gpu_program.outside["dot"]


HLO = """HloModule small

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%fused (x.1: f32[8,4], y.1: f32[4,2]) -> f32[8,2] {
  %x.1 = f32[8,4]{1,0} parameter(0)
  %y.1 = f32[4,2]{1,0} parameter(1)
  ROOT %dot = f32[8,2]{1,0} dot(%x.1, %y.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (x: f32[8,4], y: f32[4,2]) -> (f32[8,2], bf16[3]) {
  %x = f32[8,4]{1,0} parameter(0)
  %y = f32[4,2]{1,0} parameter(1)
  %product = f32[8,2]{1,0} fusion(%x, %y), kind=kOutput, calls=%fused
  %copy = f32[8,2]{0,1} copy(%product), metadata={op_name="bert/layer_7/copy"}
  %call = (bf16[3]{0}, s8[16]{0}) custom-call(%x, %y), custom_call_target="mine", \
backend_config={"epilogue":"BIAS"}
  %first = bf16[3]{0} get-tuple-element(%call), index=0
  ROOT %result = (f32[8,2]{1,0}, bf16[3]{0}) tuple(%copy, %first)
}
"""


def test_what_is_counted() -> None:
    program = read_program(HLO)
    assert program.count("copy") == program.outside["copy"] == 1
    assert program.count("dot") == program.fused["dot"] == 1
    assert not program.count("add")  # of a reduction that nothing calls
    assert program.custom_calls == {"mine BIAS": 1}
    opcodes = [kernel.instruction.opcode for kernel in program.kernels]
    assert opcodes == ["fusion", "copy", "custom-call"]
    inputs, product = 4 * (8 * 4 + 4 * 2), 4 * 8 * 2
    assert program.bytes == inputs + product + 2 * product + inputs + 2 * 3 + 16
    assert program.flops == 2 * 8 * 2 * 4
    assert program.kernels[1].instruction.source == "bert/layer_*/copy"


def test_other_text_is_no_program() -> None:
    with pytest.raises(ValueError, match="no ENTRY"):
        read_program("nothing")
