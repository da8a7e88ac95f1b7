"""Kernels by group: lines as XLA writes them, made-up traces, and a real one."""

import pytest

from bert_jax.errors import MachineError
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.speed.kernels import OTHER, name_kernels, profile_steps, summarize
from bert_jax.speed.timing import Work, make_step
from bert_jax.training.parallel import all_devices

LAYER = "jit(_fun)/jvp(BertForPreTraining)/bert/encoder/layer_0"
BACK = "jit(_fun)/transpose(jvp(BertForPreTraining))/bert/encoder/layer_0"


def program(*lines: str) -> str:
    return "\n".join(
        [
            "HloModule jit__fun, is_scheduled=true, entry_computation_layout={()->f32[2]{0}}",
            "",
            "%gelu (param_0.7: f32[8,64], param_1.2: f32[64]) -> f32[8,64] {",
            "  %param_0.7 = f32[8,64]{1,0} parameter(0)",
            f'  %b = f32[8,64]{{1,0}} bitcast(%p), metadata={{op_name="{LAYER}/x/dot_general"}}',
            f'  ROOT %e = f32[8,64]{{1,0}} erf(%b), metadata={{op_name="{LAYER}/intermediate/e"}}',
            "}",
            "",
            "%with_dot (param_0.1: f32[8,64]) -> (f32[8,64], f32[8]) {",
            f'  %d = f32[8,64]{{1,0}} dot(%x, %y), metadata={{op_name="{LAYER}/output/dense/dot"}}',
            f'  ROOT %n = f32[8,64]{{1,0}} add(%d, %y), metadata={{op_name="{LAYER}/LayerNorm/a"}}',
            "}",
            "",
            "ENTRY %main.1 (p.1: f32[2]) -> f32[2] {",
            *lines,
            "}",
        ]
    )


@pytest.mark.parametrize(
    ("instruction", "path", "group"),
    [
        ("f32[8,64]{1,0} dot(%a, %b)", f"{LAYER}/intermediate/dense/dot_general", "matmul"),
        ("f32[8,64]{1,0} dot(%a, %b)", f"{BACK}/attention/self/query/dot_general", "matmul"),
        ("f32[8]{0} dot(%a, %b)", f"{BACK}/attention/self/btnh,bsnh->bnts/dot", "attention"),
        ("f32[8]{0} exponential(%a)", f"{LAYER}/attention/self/exp", "attention"),
        ("f32[8]{0} multiply(%a)", f"{LAYER}/attention/self/attention/dropout/mul", "dropout"),
        ("u32[8]{0} xor(%a)", f"{BACK}/attention/self/Dropout_0/dropout/xor", "dropout"),
        ("f32[8]{0} select(%a)", f"{BACK}/output/Dropout_0/select_n", "dropout"),
        ("f32[8]{0} add(%a)", f"{LAYER}/attention/output/LayerNorm/add", "layer norm"),
        ("f32[8]{0} reduce(%a)", f"{BACK}/intermediate/dense/reduce_sum", "activation and bias"),
        ("f32[8]{0} scatter(%a)", "jit(_fun)/transpose(jvp(B))/bert/embeddings/add", "embedding"),
        ("f32[8]{0} add(%a)", "jit(_fun)/jvp(B)/bert/embeddings/LayerNorm/add", "layer norm"),
        ("f32[8]{0} exponential(%a)", "jit(_fun)/jvp(losses)/exp", "head and loss"),
        ("f32[8]{0} add(%a)", "jit(_fun)/transpose(jvp(B))/predictions/add_any", "head and loss"),
        ("f32[8]{0} sqrt(%a)", "jit(_fun)/optimizer/sqrt", "optimizer"),
        ("f32[8]{0} all-reduce(%a), channel_id=1", "jit(_fun)/psum", "between devices"),
        ("f32[8]{0} copy(%a)", "", OTHER),
        ("f32[8,64]{1,0} fusion(%a), kind=kLoop, calls=%gelu", "", "activation and bias"),
        # By its strongest member, not by the one whose path it bears.
        (
            "(f32[8,64]{1,0}, /*index=1*/f32[8]{0}) fusion(%a), kind=kCustom, calls=%with_dot",
            f"{LAYER}/LayerNorm/add",
            "matmul",
        ),
        (
            '(bf16[8,64]{1,0}, s8[33554432]{0}) custom-call(%a, %b), custom_call_target="'
            '__cublas$lt$matmul"',
            f"{LAYER}/output/dense/dot_general",
            "matmul",
        ),
        (
            '(bf16[8]{0}, u8[0]{0}) custom-call(%q), custom_call_target="__cudnn$fmhaSoftmax"',
            "",
            "attention",
        ),
    ],
)
def test_groups_of_instructions(instruction: str, path: str, group: str) -> None:
    metadata = f', metadata={{op_name="{path}" stack_frame_id=3}}' if path else ""
    (kernel,) = [
        kernel
        for name, kernel in name_kernels(program(f"  ROOT %it.1 = {instruction}{metadata}")).items()
        if name == "it.1"
    ]
    assert kernel.group == group
    assert kernel.path == path
    assert kernel.opcode in instruction


def event(name: str, begin: float, end: float, *, device: int = 0) -> dict:
    arguments = {"hlo_op": name, "device_ordinal": str(device)}
    return {
        "ph": "X",
        "pid": 7,
        "tid": begin,
        "ts": begin,
        "dur": end - begin,
        "name": name,
        "args": arguments,
    }


KERNELS = name_kernels(
    program(
        f'  %d.1 = f32[8]{{0}} dot(%a, %b), metadata={{op_name="{LAYER}/output/dense/dot"}}',
        f'  %n.1 = f32[8]{{0}} add(%a, %b), metadata={{op_name="{LAYER}/output/LayerNorm/add"}}',
        "  %w.1 = (f32[8]{0}) while(%a), condition=%c, body=%b",
        "  ROOT %c.1 = f32[8]{0} copy(%a)",
    )
)


def test_a_moment_is_shared_by_what_runs_in_it() -> None:
    events = [
        {"ph": "M", "pid": 7, "name": "process_name"},
        {"ph": "X", "pid": 7, "ts": 0.0, "dur": 900.0, "name": "on the host"},
        event("w.1", 0, 900),  # holds the others
        event("d.1", 0, 200),
        event("n.1", 100, 300),
        event("c.1", 500, 600),
        event("d.1", 600, 700),
    ]
    found = summarize(events, KERNELS, step_ms=0.5, num_steps=2, num_devices=1)
    assert {name: tuple(usage) for name, usage in found.groups.items()} == {
        "matmul": (pytest.approx(0.125), 1.0),
        "layer norm": (pytest.approx(0.075), 0.5),
        OTHER: (pytest.approx(0.05), 0.5),
    }
    assert found.idle_ms == pytest.approx(0.25)
    assert [kernel.name for kernel, _ in found.kernels] == ["d.1", "n.1", "c.1"]


def test_devices_are_averaged() -> None:
    events = [event("d.1", 0, 100), event("d.1", 0, 300, device=1)]
    found = summarize(events, KERNELS, step_ms=0.3, num_steps=1, num_devices=2)
    assert found.groups["matmul"] == (pytest.approx(0.2), 1.0)
    assert found.idle_ms == pytest.approx(0.1)


def test_a_trace_without_kernels_is_no_profile() -> None:
    with pytest.raises(MachineError, match="names no kernels"):
        summarize([event("x", 0, 1)], KERNELS, step_ms=1.0, num_steps=1, num_devices=1)


def test_a_real_step() -> None:
    config = BertConfig(vocab_size=100, **SIZES["tiny"] | {"num_layers": 1})
    step = make_step(Work(config=config, batch_size=16, seq_len=64), all_devices()[:1])
    found = profile_steps(step, 3)
    assert {"matmul", "attention", "layer norm", "dropout", "embedding"} <= set(found.groups)
    total = sum(usage.ms for usage in found.groups.values())
    assert 0 < total <= found.step_ms
    assert found.step_ms == pytest.approx(total + found.idle_ms)
    times = [usage.ms for _, usage in found.kernels]
    assert len(times) == 10 and times == sorted(times, reverse=True)
    # Forward and backward: query, key, value, output, both of feed-forward; layers, heads.
    assert found.groups["matmul"].runs >= 3 * (6 + 2)
