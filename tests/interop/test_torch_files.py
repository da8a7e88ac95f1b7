"""PyTorch's files are read as torch itself reads them; damage is one clear line."""

import itertools
import pickle
import random
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from torch_programs import literal, program, refusal, save_legacy, save_zip, storage, tensor

from bert_jax.errors import UserError
from bert_jax.interop.torch_files import read_torch_file

FOLDER = Path(__file__).parent / "torch_files"
FILES = sorted(FOLDER.glob("*.pt"))
FLOATS = np.arange(6, dtype="<f4").tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.bin"


def expected(file: Path) -> dict[str, np.ndarray]:
    """By torch's account; bfloat16 as float32."""
    kind = file.stem.partition("_")[0] + "/"
    with np.load(FOLDER / "expected.npz") as arrays:
        return {key.removeprefix(kind): arrays[key] for key in arrays if key.startswith(kind)}


def assert_as_torch_says(file: Path, content: dict[str, np.ndarray]) -> None:
    right = expected(file)
    assert list(content) == list(right)
    for key, array in right.items():
        dtype = np.dtype(ml_dtypes.bfloat16) if key == "bfloat16" else array.dtype
        assert (content[key].dtype, content[key].shape) == (dtype, array.shape), key
        np.testing.assert_array_equal(content[key].astype(array.dtype), array, err_msg=key)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_arrays_are_those_of_torch(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All types and strides, both formats; a training program's file has its weights in "model"."""
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    assert len(expected(file)) in (9, 17)
    content = read_torch_file(file)
    assert_as_torch_says(file, content)
    assert not any(array.flags.writeable for array in content.values())
    if "embed.weight" in content:
        assert np.shares_memory(content["embed.weight"], content["decode.weight"])
        assert not np.shares_memory(content["embed.weight"], content["norm.weight"])


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_wrapped_weights_come_before_tensors_beside_them(path: Path, wrapper: str) -> None:
    part = tensor(storage("FloatStorage", "0", 6), 0, (6,), (1,))
    inner = b"}" + literal("weight") + part + b"s"
    save_zip(path, program({"rng": part, wrapper: inner}), {"0": FLOATS})
    assert list(read_torch_file(path)) == ["weight"]
    save_zip(path, program({"rng": part, wrapper: literal({"layers": 2})}), {"0": FLOATS})
    assert list(read_torch_file(path)) == ["rng"]


def test_what_is_beside_the_weights_does_not_matter(path: Path) -> None:
    """Dicts by other keys, also those that nobody should hash; other protocols; lost storages."""
    deep = b")" + b"\x85" * 150_000 + literal(1)
    others = pickle.dumps((b"x", 2**99, {1: {(): 2}, "b": None}, 0.5, [True]), 4)[2:-1]
    moment = tensor(storage("LongStorage", "lost", 9), 0, (9,), (1,))
    part = tensor(storage("UntypedStorage", "0", 3), 0, (3,), (1,))
    content = program({"other": others, "deep": b"}" + deep + b"s", "m": b"](" + moment + b"e"})
    content = content[:-1] + literal("a") + part + b"s" + literal(4) + literal("dropped") + b"s."
    array = read_torch_file(save_zip(path, content, {"0": b"\1\2\3"}))["a"]
    assert (array.dtype, array.tolist()) == (np.uint8, [1, 2, 3])
    storages = {"lost": (9, bytes(72)), "0": (3, b"\1\2\3")}
    assert read_torch_file(save_legacy(path, content, storages))["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "view",
    [(5, (), ()), (6, (0,), (1,)), (0, (2, 3), (3, 1)), (5, (1, 1), (99, 2**62)), (1, (3,), (0,))],
)
def test_views_up_to_the_last_element(path: Path, view: tuple) -> None:
    offset, shape, strides = view
    content = program({"a": tensor(storage("FloatStorage", "0", 6), *view)})
    array = read_torch_file(save_zip(path, content, {"0": FLOATS}))["a"]
    assert array.shape == shape
    for place in itertools.product(*map(range, shape)):
        element = offset + sum(i * step for i, step in zip(place, strides, strict=True))
        assert array[place] == element


def test_a_storage_has_one_type_and_is_there(path: Path) -> None:
    kinds = ("FloatStorage", "IntStorage")
    two = {kind: tensor(storage(kind, "0", 6), 0, (2,), (1,)) for kind in kinds}
    assert "two types" in refusal(save_zip(path, program(two), {"0": FLOATS}))
    one = program({"a": two["FloatStorage"]})
    assert "data/0" in refusal(save_zip(path, one))
    assert "damaged" in refusal(save_legacy(path, one))
    assert "damaged" in refusal(save_legacy(path, one, {"1": (6, FLOATS)}))
    for keys in (None, ["0", "0"], [0], [["0"]]):
        damaged = save_legacy(path, one, {"0": (6, FLOATS)}, keys=pickle.dumps(keys, 2))
        assert "damaged" in refusal(damaged)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no file of torch.save (it begins with b'')"),
        (b"version https://", "is no file of torch.save (it begins with b'version https://')"),
        (pickle.dumps({"a": 1}, 2), "is a pickle, but not of torch.save"),
        (pickle.dumps(np.arange(3), 2), "multiarray"),
    ],
    ids=["empty", "text", "pickle", "numpy"],
)
def test_other_files(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    assert reason in refusal(path)


def test_missing_files_and_other_zip_files(path: Path) -> None:
    assert "No such file" in refusal(path)
    assert "Is a directory" in refusal(path.parent)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    assert "is a zip file, but not of torch.save" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program({}))
        archive.writestr("a/byteorder", "big")
    assert "big-endian" in refusal(path)


@pytest.mark.parametrize("value", [[1], 3, None, "text", {"a": 1}, {"model": {"b": [0.5]}}, {}])
def test_objects_without_tensors(path: Path, value: object) -> None:
    content = pickle.dumps(value, 2)
    assert "holds no" in refusal(save_zip(path, content))
    assert "holds no" in refusal(save_legacy(path, content))


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_truncation_is_noticed(path: Path, form: str) -> None:
    whole = (FOLDER / f"module_{form}.pt").read_bytes()
    for length in {*range(0, len(whole), 61), len(whole) - 1}:
        path.write_bytes(whole[:length])
        refusal(path)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_flipped_bytes_raise_nothing_else(path: Path, file: Path) -> None:
    """Anywhere in the file, and in its program with checksums that are right."""
    whole = file.read_bytes()
    members = {}
    if file.stem.endswith("zip"):
        with zipfile.ZipFile(file) as archive:
            members = {Path(name).name: archive.read(name) for name in archive.namelist()}
    rng = random.Random(f"flips of {file.name}")
    for trial in range(60):
        in_program = trial % 2 == 0
        content = bytearray(members["data.pkl"] if members and in_program else whole)
        for place in rng.sample(range(len(content)), rng.choice([1, 1, 2, 4])):
            byte = rng.choice(b"()QRctubae}]\x81\x85\x86\x87\x89\x8aKMJXqhj0121.")
            content[place] = byte if in_program else rng.randrange(256)
        if members and in_program:
            elements = {key: raw for key, raw in members.items() if key.isdigit()}
            save_zip(path, bytes(content), elements)
        else:
            path.write_bytes(content)
        try:
            arrays = read_torch_file(path)
        except UserError as error:
            assert str(error).isprintable()
            continue
        if members and not in_program:  # whose checksums notice all that changes a value
            assert_as_torch_says(file, arrays)
        assert all(isinstance(array.sum(), np.generic) for array in arrays.values())
