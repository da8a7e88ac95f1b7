"""What the compiled step does: nothing is moved or scattered without a reason."""

from typing import Any, NamedTuple

import jax
import pytest

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.speed.compiled import compiled_step, h100
from bert_jax.speed.program import Program, read_program
from bert_jax.speed.synthetic import synthetic_batch


class Bound(NamedTuple):
    """The most instructions of a kind in a step of two layers, and what they are for."""

    opcode: str
    most: int
    why: str


CPU = [
    Bound("gather", 1, "word embeddings"),
    Bound("scatter", 1, "their gradient"),
    Bound("concatenate", 0, "nothing is put together"),
    Bound(
        "transpose", 46, "19 a layer to bring heads before tokens; gradients of biases and heads"
    ),
    Bound("copy", 447, "what the loops of threefry carry, for the keys of dropout, most of it"),
]
GPU = [
    Bound("gather", 5, "word embeddings; keys of dropout"),
    Bound("scatter", 1, "gradient of the word embeddings"),
    Bound("concatenate", 4, "keys of dropout"),
    Bound("transpose", 0, "cuDNN takes heads where they are"),
    Bound("copy", 7, "scalars"),
]
# Operands and results of all kernels; as measured, and 2 % for other versions of XLA.
CPU_BYTES, GPU_BYTES = 1.02 * 195_225_213, 1.02 * 248_309_564


def step_on(device: jax.Device, **options: Any) -> jax.stages.Compiled:
    config = BertConfig(
        vocab_size=1000, num_layers=2, num_heads=2, width=128, max_positions=64, **options
    )
    batch = synthetic_batch(config, batch_size=8, seq_len=64)
    return compiled_step(BertForPreTraining(config), batch, device)


@pytest.fixture(scope="module")
def on_cpu() -> jax.stages.Compiled:
    return step_on(jax.devices("cpu")[0])


@pytest.fixture(scope="module")
def gpu_program() -> Program:
    try:
        device = h100()
    except UserError as error:
        pytest.skip(str(error))
    return read_program(
        step_on(device, dtype="bfloat16", attention="cudnn", attention_dropout=0.0).as_text() or ""
    )


def test_bytes_and_flops_are_the_compiler_s(on_cpu: jax.stages.Compiled) -> None:
    program, theirs = read_program(on_cpu.as_text() or ""), on_cpu.cost_analysis()
    assert theirs is not None
    assert program.bytes == pytest.approx(theirs["bytes accessed"], rel=0.05)
    assert program.bytes <= CPU_BYTES
    assert 0.8 * theirs["flops"] < program.flops < theirs["flops"]  # theirs count all arithmetic


@pytest.mark.parametrize("bound", CPU, ids=lambda bound: bound.opcode)
def test_a_step_on_a_cpu_moves_little(on_cpu: jax.stages.Compiled, bound: Bound) -> None:
    count = read_program(on_cpu.as_text() or "").count(bound.opcode)
    assert count <= bound.most, bound.why


@pytest.mark.parametrize("bound", GPU, ids=lambda bound: bound.opcode)
def test_a_step_on_a_gpu_moves_little(gpu_program: Program, bound: Bound) -> None:
    assert gpu_program.count(bound.opcode) <= bound.most, bound.why


def test_a_gpu_moves_few_bytes(gpu_program: Program) -> None:
    assert gpu_program.bytes <= GPU_BYTES


def test_kernels_of_libraries(gpu_program: Program) -> None:
    """Matrix products carry their bias, attention is one kernel each way."""
    calls = gpu_program.custom_calls
    # The pooler's and three of the heads; in each layer those of the attention's output and the
    # feed-forward part. The projections of a base model do so too, those of this one are fused.
    assert sum(number for name, number in calls.items() if "BIAS" in name) >= 4 + 2 * 3
    assert sum(number for name, number in calls.items() if "fmha" in name) == 2 * 2
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
