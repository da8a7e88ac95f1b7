"""Data sets of TFDS: by name, by folder, by split; in parts; what is refused."""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bert_jax.data import tfds_source
from bert_jax.data.sources import Document, Part, open_source
from bert_jax.data.tfds_source import split_spec
from bert_jax.errors import UserError

TEXT = tfds.features.Text()
NUMBER = tfds.features.Scalar(np.int64)
TRAIN = [[f"Book {n}.", "나는 파리를 사랑해."] for n in range(100)]
TEST = [[f"Test {n}."] for n in range(10)]


def store(
    folder: Path,
    splits: dict[str, Sequence[dict]],
    features: dict,
    *,
    name: str = "library",
    files: int = 1,
) -> Path:
    """A prepared data set; the folder of its version."""
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={split: list(enumerate(each)) for split, each in splits.items()},
        data_dir=folder,
        download_config=tfds.download.DownloadConfig(num_shards=files),
        disable_shuffling=True,
    )
    return Path(builder.data_dir)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits of three files each; below it lie a name and a version."""
    folder = tmp_path_factory.mktemp("tfds")
    splits = {
        split: [{"title": document[0], "text": " \n\n".join(document), "n": 1} for document in each]
        for split, each in {"train": TRAIN, "test": TEST}.items()
    }
    store(folder, splits, {"title": TEXT, "text": TEXT, "n": NUMBER}, files=3)
    return folder


def read(source: str) -> list[Document]:
    return list(open_source(source).documents())


def refusal_of(source: str) -> str:
    with pytest.raises(UserError) as caught:
        read(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("below", ["", "/library", "/library/", "/library/1.0.0"])
def test_a_prepared_data_set_is_found_by_its_folder(library: Path, below: str) -> None:
    assert read(f"tfds:{library}{below}") == TRAIN


@pytest.mark.parametrize(
    ("split", "documents"),
    [
        ("train", TRAIN),
        ("test", TEST),
        ("train[:10%]", TRAIN[:10]),
        ("train[40:-10]", TRAIN[40:-10]),
        ("train[1shard]", TRAIN[33:67]),
        ("test+train[98:]", TEST + TRAIN[98:]),
        ("all", TRAIN + TEST),
    ],
)
def test_splits_and_slices(library: Path, split: str, documents: list[Document]) -> None:
    assert read(f"tfds:{library}/library/1.0.0:{split}") == documents


def test_a_file_is_a_part(library: Path) -> None:
    source = open_source(f"tfds:{library}:train[20:]+test[:1]")
    parts = [list(part.documents()) for part in source.parts]
    assert parts == [TRAIN[20:33], TRAIN[33:67], TRAIN[67:], TEST[:1]]
    assert list(source.documents()) == [document for part in parts for document in part]


def read_part(part: Part) -> list[Document]:
    return list(part.documents())


def test_another_process_can_read_a_part(library: Path) -> None:
    part = open_source(f"tfds:{library}").parts[1]
    assert pickle.loads(pickle.dumps(part)) == part
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert processes.submit(read_part, part).result() == TRAIN[33:67]


@pytest.mark.parametrize("split", ["train", "train[:7]", "test[3:]+train[30:90]"])
def test_progress_adds_up(library: Path, split: str) -> None:
    source = open_source(f"tfds:{library}:{split}")
    steps: list[int] = []
    list(source.documents(steps.append))
    assert min(steps) >= 0
    assert sum(steps) == source.num_bytes == sum(part.num_bytes for part in source.parts) > 0


def test_the_size_is_a_share_of_the_split(library: Path) -> None:
    whole, half = (open_source(f"tfds:{library}:{split}") for split in ("train", "train[:50%]"))
    assert half.num_bytes == pytest.approx(whole.num_bytes / 2, abs=1)
    assert len("".join(map("".join, TRAIN)).encode()) < whole.num_bytes


def test_an_example_without_text_is_passed_over(tmp_path: Path) -> None:
    store(tmp_path, {"train": [{"text": text} for text in ("a", " \n", "b")]}, {"text": TEXT})
    assert read(f"tfds:{tmp_path}") == [["a"], ["b"]]


# Which field holds the text.


def test_another_field_is_chosen_by_name(library: Path) -> None:
    assert read(f"tfds#title:{library}:test") == TEST


def test_the_only_field_of_strings_is_the_text(tmp_path: Path) -> None:
    store(tmp_path, {"train": [{"body": "a", "n": 1}]}, {"body": TEXT, "n": NUMBER})
    assert read(f"tfds:{tmp_path}") == [["a"]]


@pytest.mark.parametrize("field", ["n", "Text", "titles"])
def test_a_field_that_is_none_of_strings_is_refused(library: Path, field: str) -> None:
    message = refusal_of(f"tfds#{field}:{library}")
    assert f"has no field '{field}' of strings" in message
    assert message.endswith(f"tfds#FIELD:{library}, of: text, title")


def test_several_fields_must_be_chosen_from(tmp_path: Path) -> None:
    features = {"a": TEXT, "b": TEXT, "many": tfds.features.Sequence(TEXT)}
    store(tmp_path, {"train": [{"a": "", "b": "", "many": []}]}, features)
    assert refusal_of(f"tfds:{tmp_path}").endswith("of: a, b")


def test_a_field_that_is_not_utf_8_is_refused_with_its_place(tmp_path: Path) -> None:
    examples = [{"text": text} for text in (b"a", b"\xff")]
    folder = store(tmp_path, {"train": examples}, {"text": TEXT})
    message = refusal_of(f"tfds:{tmp_path}")
    assert message.startswith(f"{folder}: field 'text' is not UTF-8 in example 1 of split 'train'")


# Names.


@pytest.mark.parametrize(
    ("spec", "name", "split"),
    [
        ("pg19", "pg19", "train"),
        ("pg19:test", "pg19", "test"),
        ("pg19:train[5:10]", "pg19", "train[5:10]"),
        ("wikipedia/20230601.en:train[:10%]+a", "wikipedia/20230601.en", "train[:10%]+a"),
        ("wikipedia/20230601.en/1.0.0", "wikipedia/20230601.en/1.0.0", "train"),
        ("wikipedia/20230601.en:1.0.0:test", "wikipedia/20230601.en:1.0.0", "test"),
        ("huggingface:x", "huggingface:x", "train"),
        ("huggingface:x/y:test", "huggingface:x/y", "test"),
        ("gs://bucket/x/1.0.0", "gs://bucket/x/1.0.0", "train"),
        ("gs://bucket/x/1.0.0:train[:5]", "gs://bucket/x/1.0.0", "train[:5]"),
        ("/a:b/x/1.0.0:test", "/a:b/x/1.0.0", "test"),
    ],
)
def test_name_and_split(spec: str, name: str, split: str) -> None:
    assert split_spec(spec) == (name, split)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (":train", "':train' names no TFDS data set"),
        ("pg91", "did you mean pg19"),
        ("wikipedia/20231101.en", "did you mean wikipedia/20230601.en"),
        ("pg19/nonsense", "is not in"),
        ("wikipedia/20230601.en/9.9.9", "only: 1.0.0"),
        ("a b/c", "nor known"),
    ],
)
def test_an_unknown_name_is_refused_with_those_like_it(name: str, problem: str) -> None:
    message = refusal_of(f"tfds:{name}")
    assert problem in message
    assert len(message) < 400


@pytest.mark.parametrize("split", ["nonsense", "train[10", "train[:1000]", "train[a]", "train[1]"])
def test_an_unknown_split_is_refused_with_those_that_exist(library: Path, split: str) -> None:
    message = refusal_of(f"tfds:{library}:{split}")
    assert f"has no split '{split}'; it has train, test, slices" in message


def test_a_split_without_examples_is_refused(library: Path) -> None:
    assert "'train[20:10]' of TFDS data set" in refusal_of(f"tfds:{library}:train[20:10]")


def test_a_folder_without_a_data_set_is_refused(tmp_path: Path) -> None:
    assert "holds no prepared TFDS data set" in refusal_of(f"tfds:{tmp_path}")


def test_a_folder_of_several_data_sets_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        store(tmp_path, {"train": [{"text": "a"}]}, {"text": TEXT}, name=f"books_{name}")
    assert refusal_of(f"tfds:{tmp_path}").endswith("name one of them: books_a/1.0.0, books_b/1.0.0")


def test_a_damaged_data_set_is_named(tmp_path: Path) -> None:
    folder = store(tmp_path, {"train": [{"text": "a" * 1000}]}, {"text": TEXT})
    (file,) = folder.glob("*.tfrecord*")
    file.write_bytes(file.read_bytes()[:-100])
    assert refusal_of(f"tfds:{tmp_path}").startswith(f"{folder} cannot be read: DataLossError")


# What is not here yet.


def run_alone(program: str, folder: Path) -> subprocess.CompletedProcess:
    """A process of its own: TFDS looks up its folder once, when it is imported."""
    environment = os.environ | {"TFDS_DATA_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )


@pytest.mark.skipif(not tfds_source._is_offline(), reason="would fetch gigabytes")
@pytest.mark.parametrize("name", ["wikipedia/20230601.en", "pg19", "huggingface:pg19"])
def test_a_data_set_that_cannot_be_fetched_is_refused(tmp_path: Path, name: str) -> None:
    program = f"""
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
try:
    open_source("tfds:{name}:train")
except UserError as error:
    print(error)
"""
    done = run_alone(program, tmp_path)
    assert done.stdout.splitlines()[-1] == (
        f"TFDS data set '{name}' is not in {tmp_path} (TFDS_DATA_DIR) and cannot be prepared: "
        f"there is no network; prepare it where there is network, by tfds.builder('{name}')"
        ".download_and_prepare(), and copy it there, or name files instead"
    )
    assert "WARNING:urllib3" not in done.stderr  # which would tell of every attempt
    assert "WARNING:absl" not in done.stderr


def test_a_data_set_of_ones_own_is_read_by_name(library: Path) -> None:
    program = """
from bert_jax.data.sources import open_source
print(sum(1 for _ in open_source("tfds:library/1.0.0:test").documents()))
"""
    assert run_alone(program, library).stdout == f"{len(TEST)}\n"
