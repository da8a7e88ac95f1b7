"""PyTorch's files are read as torch itself reads them; damage is one clear line."""

import io
import itertools
import pickle
import random
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from torch_programs import literal, name, program, save_legacy, save_zip, storage, tensor

from bert_jax.errors import UserError
from bert_jax.interop.torch_files import read_torch_file

FOLDER = Path(__file__).parent / "torch_files"
FILES = sorted(FOLDER.glob("*.pt"))
HUGE = 1 << 20_000  # more digits than Python prints
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


def refusal(path: Path) -> str:
    """The one line, without the path."""
    with pytest.raises(UserError) as raised:
        read_torch_file(path)
    message = str(raised.value)
    assert message.startswith(f"{path} ")
    assert message.isprintable()
    assert "TypeCheckError" not in message  # a fault of ours is not the file's
    assert len(message) < len(str(path)) + 400
    return message.removeprefix(f"{path} ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_arrays_are_those_of_torch(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    assert len(expected(file)) in (9, 17)
    assert_as_torch_says(file, read_torch_file(file))


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_tensors_of_one_storage_share_memory_and_cannot_be_written(form: str) -> None:
    content = read_torch_file(FOLDER / f"module_{form}.pt")
    assert np.shares_memory(content["embed.weight"], content["decode.weight"])
    assert not np.shares_memory(content["embed.weight"], content["norm.weight"])
    assert not any(array.flags.writeable for array in content.values())


def test_the_name_of_the_file_says_nothing(path: Path) -> None:
    for file in (FOLDER / "mixed_zip.pt", FOLDER / "mixed_legacy.pt"):
        path.write_bytes(file.read_bytes())
        assert_as_torch_says(file, read_torch_file(path))


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_wrapped_weights_come_before_tensors_beside_them(path: Path, wrapper: str) -> None:
    part = tensor(storage("FloatStorage", "0", 6), 0, (6,), (1,))
    inner = b"}" + literal("weight") + part + b"s"
    save_zip(path, program({"rng": part, wrapper: inner}), {"0": FLOATS})
    assert list(read_torch_file(path)) == ["weight"]
    save_zip(path, program({"rng": part, wrapper: literal({"layers": 2})}), {"0": FLOATS})
    assert list(read_torch_file(path)) == ["rng"]


def test_storages_that_no_weight_needs_are_not_read(path: Path) -> None:
    part = tensor(storage("FloatStorage", "0", 6), 0, (6,), (1,))
    other = b"}" + literal("moment") + tensor(storage("LongStorage", "1", 9), 0, (9,), (1,)) + b"s"
    content = program({"a": part, "optimizer": other})
    assert list(read_torch_file(save_zip(path, content, {"0": FLOATS}))) == ["a"]
    legacy = {"1": (9, bytes(72)), "0": (6, FLOATS)}
    np.testing.assert_array_equal(
        read_torch_file(save_legacy(path, content, legacy))["a"], np.arange(6, dtype=np.float32)
    )


@pytest.mark.parametrize("order", ["little", "big"])
def test_byte_order(path: Path, order: str) -> None:
    kinds = {"FloatStorage": "f4", "ShortStorage": "i2", "BoolStorage": "?", "DoubleStorage": "f8"}
    content = {kind: tensor(storage(kind, kind, 2), 0, (2,), (1,)) for kind in kinds}
    content["BFloat16Storage"] = tensor(storage("BFloat16Storage", "b", 2), 0, (2,), (1,))
    mark = "<" if order == "little" else ">"
    raw = {kind: np.array([0, 1]).astype(mark + code).tobytes() for kind, code in kinds.items()}
    raw["b"] = np.array([0, 0x3F80]).astype(mark + "u2").tobytes()
    arrays = read_torch_file(save_zip(path, program(content), raw, order))
    for kind, array in arrays.items():
        assert array.dtype.isnative
        assert array.tolist() == [0, 1], kind


def test_forms_of_old_torch(path: Path) -> None:
    """Python 2's strings and dicts, parts of storages, `torch.Size`, the first function."""
    part = storage("FloatStorage", "7", 6, b"(" + literal("8") + literal(2) + literal(3) + b"t")
    shape = name("torch", "Size") + b"(" + literal((2,)) + b"tR"
    first = name("torch._utils", "_rebuild_tensor")
    built = first + b"(" + part + literal(1) + shape + literal((1,)) + b"tR"
    pairs = b"](]U\x01aa" + built + b"ae"
    content = b"\x80\x02" + name("collections", "OrderedDict") + b"(" + pairs + b"tR."
    array = read_torch_file(save_legacy(path, content, {"7": (6, FLOATS)}))["a"]
    assert array.tolist() == [3, 4]
    beyond = content.replace(literal((2,)), literal((3,)))
    assert "element 3 of 3" in refusal(save_legacy(path, beyond, {"7": (6, FLOATS)}))


def test_protocol_4_and_what_is_no_tensor(path: Path) -> None:
    """Sets, bytes, long integers and dicts by other keys; a storage without type is bytes."""
    others = pickle.dumps(({1, 2}, frozenset("a"), b"x", 2**99, {1: 2, "b": None}, 0.5), 4)
    # Without its protocol and end; STACK_GLOBAL and MEMOIZE need no help.
    whole = b"\x80\x04}" + literal("other") + others[2:-1] + b"s"
    module, attribute = literal("torch._utils"), literal("_rebuild_tensor_v2")
    part = tensor(storage("UntypedStorage", "0", 3), 0, (3,), (1,))
    part = part.replace(name("torch._utils", "_rebuild_tensor_v2"), module + attribute + b"\x93")
    content = whole + literal("a") + part + b"s" + literal(4) + literal("dropped") + b"s."
    array = read_torch_file(save_zip(path, content, {"0": b"\1\2\3"}))["a"]
    assert (array.dtype, array.tolist()) == (np.uint8, [1, 2, 3])


VIEWS = {
    "reaches element 6 of 6": [(0, (7,), (1,)), (6, (), ()), (1, (2, 3), (3, 1)), (0, (2,), (6,))],
    "negative or absurd": [
        (-1, (2,), (1,)),
        (5, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (HUGE,), (1,)),
        (HUGE, (2,), (1,)),
        (0.0, (2,), (1,)),
        (True, (2,), (1,)),
        (0, ("2",), (1,)),
        (None, (2,), (1,)),
    ],
    "of absurd size": [(0, (2**40, 2**40), (0, 0)), (0, (0, 2**40, 2**40), (0, 0, 0))],
    "strides for": [(0, (2, 3), (1,)), (0, (), (1,))],
    "no tuple of": [(0, [2], (1,)), (0, (2,), 1), (0, (1,) * 33, (1,) * 33)],
    "reaches element": [(2**62, (2,), (2**62,)), (0, (2,), (2**62,))],
}


@pytest.mark.parametrize(
    ("reason", "view"),
    [(reason, view) for reason, views in VIEWS.items() for view in views],
    ids=itertools.count(),
)
def test_no_element_outside_of_a_storage(path: Path, reason: str, view: tuple) -> None:
    content = program({"a": tensor(storage("FloatStorage", "0", 6), *view)})
    assert reason in refusal(save_zip(path, content, {"0": FLOATS}))
    assert reason in refusal(save_legacy(path, content, {"0": (6, FLOATS)}))


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


@pytest.mark.parametrize("size", [5, 7, 2**60, HUGE, -6, "6", None], ids=itertools.count())
def test_storages_are_as_long_as_they_are_said_to_be(path: Path, size: object) -> None:
    content = program({"a": tensor(storage("FloatStorage", "0", size), 0, (2,), (1,))})
    assert "damaged" in refusal(save_zip(path, content, {"0": FLOATS}))
    assert "damaged" in refusal(save_legacy(path, content, {"0": (6, FLOATS)}))
    if isinstance(size, int) and 6 < size < 2**63:  # the count before the elements says the same
        assert "damaged" in refusal(save_legacy(path, content, {"0": (size, FLOATS)}))


def test_a_storage_has_one_type_and_is_there(path: Path) -> None:
    kinds = ("FloatStorage", "IntStorage")
    two = {kind: tensor(storage(kind, "0", 6), 0, (2,), (1,)) for kind in kinds}
    assert "two types" in refusal(save_zip(path, program(two), {"0": FLOATS}))
    one = program({"a": two["FloatStorage"]})
    assert "data/0" in refusal(save_zip(path, one))
    assert "damaged" in refusal(save_legacy(path, one))
    assert "damaged" in refusal(save_legacy(path, one, {"1": (6, FLOATS)}))
    for keys in ("0", ["0", "0"], [0], [["0"]], {"0": 1}):
        damaged = save_legacy(path, one, {"0": (6, FLOATS)}, keys=pickle.dumps(keys, 2))
        assert "damaged" in refusal(damaged)


def test_zip_files_that_could_fill_the_memory(path: Path) -> None:
    content = program({"a": tensor(storage("ByteStorage", "0", 10**6), 0, (1,), (1,))})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("any/data.pkl", content, zipfile.ZIP_STORED)
        archive.writestr("any/data/0", bytes(10**4))
    assert "longer than the file" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("any/data.pkl", content + bytes(50))
    assert "longer than the file" in refusal(path) or "compressed" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("any/data.pkl", content)
        archive.writestr("any/data/0", random.Random(0).randbytes(10**4), zipfile.ZIP_DEFLATED)
        archive.writestr("any/other", bytes(100))
    assert "compressed" in refusal(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"version https://", "is no file of torch.save (it begins with b'version https://')"),
        (bytes(257) + b"ustar\x0000", "is a tar file"),
        (pickle.dumps({"a": 1}, 2), "is a pickle, but not of torch.save"),
        (pickle.dumps(MemoryError, 2), "names"),
        (pickle.dumps(np.arange(3), 2), "multiarray"),
    ],
    ids=["empty", "text", "tar", "pickle", "class", "numpy"],
)
def test_other_files(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    assert reason in refusal(path)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.bin")
    assert "Is a directory" in refusal(tmp_path)


def test_other_zip_files(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    assert "is a zip file, but not of torch.save" in refusal(path)


@pytest.mark.parametrize("value", [[1], 3, None, "text", {"a": 1}, {"model": {"b": [0.5]}}, {}])
def test_objects_without_tensors(path: Path, value: object) -> None:
    content = pickle.dumps(value, 2)
    assert "holds no" in refusal(save_zip(path, content))
    assert "holds no" in refusal(save_legacy(path, content))


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_truncation_is_noticed(path: Path, form: str) -> None:
    whole = (FOLDER / f"module_{form}.pt").read_bytes()
    for length in {*range(0, len(whole), 17), len(whole) - 1}:
        path.write_bytes(whole[:length])
        refusal(path)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_flipped_bytes_raise_nothing_else(path: Path, file: Path) -> None:
    """In a zip file, whose members have checksums, none of them changes a value either."""
    whole = file.read_bytes()
    rng = random.Random(f"flips of {file.name}")
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.sample(range(len(whole)), rng.choice([1, 1, 2, 8])):
            content[place] = rng.randrange(256)
        path.write_bytes(content)
        try:
            arrays = read_torch_file(path)
        except UserError:
            continue
        if file.stem.endswith("zip"):
            assert_as_torch_says(file, arrays)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_programs_with_flipped_bytes_raise_nothing_else(path: Path, file: Path) -> None:
    """As above, but with right checksums: all of what the program may say."""
    if file.stem.endswith("zip"):
        with zipfile.ZipFile(file) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        whole = next(raw for member, raw in members.items() if member.endswith("data.pkl"))
    else:
        whole = file.read_bytes()
    rng = random.Random(f"programs of {file.name}")
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.sample(range(len(whole)), rng.choice([1, 2, 4])):
            content[place] = rng.choice(b"()QRctubae}]\x81\x85\x86\x87\x89\x8aKMJXqhj0121.") ^ (
                rng.choice([0, 0, 0, 128])
            )
        if file.stem.endswith("zip"):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                for member, raw in members.items():
                    archive.writestr(member, content if member.endswith("data.pkl") else raw)
            content = buffer.getvalue()
        path.write_bytes(content)
        try:
            arrays = read_torch_file(path)
        except UserError:
            continue
        assert all(isinstance(array.sum(), np.generic) for array in arrays.values())
