"""What is written for others reads back equal to the bit, and holds what they publish."""

import json
from pathlib import Path

import numpy as np
import pytest
from model_folders import DECODER, differing, make_bert, make_tokenizer
from safetensors.numpy import load_file
from test_names import GOOGLE_NAMES

import bert_jax
from bert_jax.data.tensorflow_setup import tf
from bert_jax.errors import UserError
from bert_jax.interop import google, huggingface
from bert_jax.interop.folders import Format
from bert_jax.model.labels import Labels
from bert_jax.pretrained import Pretrained

SENTENCE = Labels("sentence", ("부정", "긍정", "so so"))
TOKENS = Labels("tokens", ("O", "B-PER", "I-PER"))
SPANS = Labels("spans", ("start", "end"))
ENCODER = frozenset({"pooler"})
MODELS = {
    "pretraining": {},
    "encoder": {"parts": ENCODER},
    "encoder without pooler": {"parts": frozenset()},
    "masked words only": {"parts": frozenset({"predictions"})},
    "next sentence only": {"parts": frozenset({"pooler", "seq_relationship"})},
    "sentence": {"parts": ENCODER, "labels": SENTENCE},
    "spans": {"parts": frozenset(), "labels": SPANS},
    "all heads": {"labels": SENTENCE},
    "three segments": {"num_segments": 3, "activation": "relu"},
    "2018": {"activation": "gelu", "layer_norm_epsilon": 1e-12},
}
# What Google's format cannot say.
HUGGING_FACE_ONLY = {
    "tokens": {"parts": frozenset(), "labels": TOKENS},
    "untied": {"tie_decoder": False},
    "untied, all heads": {"tie_decoder": False, "labels": SENTENCE},
}


def assert_back(original: Pretrained, folder: Path) -> None:
    bert = bert_jax.load(folder)
    assert bert.config == original.config
    assert bert.parts == original.parts
    assert bert.labels == original.labels
    assert bert.tokenizer.hash == original.tokenizer.hash
    # What was never trained is not written, and initialised by whoever reads it.
    untrained = {"pooler", "predictions", "seq_relationship"} - original.parts
    prefixes = tuple({"pooler": "bert/pooler"}.get(part, part) for part in untrained)
    changed = differing(bert.params, original.params)
    assert all(path.startswith(prefixes) for path in changed) if untrained else not changed
    assert set(bert.report.created) == untrained
    # An own matrix has an own bias, which is written under both names.
    assert set(bert.report.ignored) == (
        set() if bert.config.tie_decoder else {"cls.predictions.bias"}
    )


@pytest.mark.parametrize("layout", ["huggingface", "google"])
@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name: str, layout: Format, tmp_path: Path) -> None:
    original = make_bert(tokenizer=make_tokenizer(), num_layers=1, **MODELS[name])
    original.save(tmp_path / "model", layout)
    assert_back(original, tmp_path / "model")


@pytest.mark.parametrize("name", HUGGING_FACE_ONLY)
def test_there_and_back_by_hugging_face_only(name: str, tmp_path: Path) -> None:
    original = make_bert(tokenizer=make_tokenizer(), num_layers=1, **HUGGING_FACE_ONLY[name])
    original.save(tmp_path / "model")
    assert_back(original, tmp_path / "model")
    with pytest.raises(UserError, match="Google's format has no"):
        original.save(tmp_path / "google", "google")
    assert not (tmp_path / "google").exists()


def test_from_one_to_the_other_and_back(tmp_path: Path) -> None:
    original = make_bert(tokenizer=make_tokenizer(), labels=SENTENCE)
    original.save(tmp_path / "first")
    bert_jax.load(tmp_path / "first").save(tmp_path / "second", "google")
    bert_jax.load(tmp_path / "second").save(tmp_path / "third")
    assert_back(original, tmp_path / "third")
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "third" / file).read_bytes() == (tmp_path / "first" / file).read_bytes()


def shapes_in(folder: Path) -> dict[str, list[int]]:
    reader = tf.train.load_checkpoint(str(folder / "bert_model.ckpt"))
    return reader.get_variable_to_shape_map()


def test_google_s_checkpoint_has_the_published_names(tmp_path: Path) -> None:
    original = make_bert(tokenizer=make_tokenizer(), num_layers=1)
    original.save(tmp_path / "model", "google")
    shapes = shapes_in(tmp_path / "model")
    assert sorted(shapes) == sorted(GOOGLE_NAMES)
    assert shapes["cls/seq_relationship/output_weights"] == [2, 24]
    assert shapes["bert/encoder/layer_0/intermediate/dense/kernel"] == [24, 56]
    assert shapes["bert/embeddings/word_embeddings"] == [130, 24]
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"bert_config.json", "bert_model.ckpt.index", "vocab.txt"} <= files
    reader = tf.train.load_checkpoint(str(tmp_path / "model" / "bert_model.ckpt"))
    kernel = reader.get_tensor("bert/encoder/layer_0/intermediate/dense/kernel")
    ours = original.params["bert"]["encoder"]["layer_0"]["intermediate"]["dense"]["kernel"]
    np.testing.assert_array_equal(kernel, ours)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (SENTENCE, ["output_bias", "output_weights"]),
        (SPANS, ["cls/squad/output_bias", "cls/squad/output_weights"]),
    ],
)
def test_google_s_classifiers_have_the_published_names(
    labels: Labels, names: list[str], tmp_path: Path
) -> None:
    original = make_bert(labels=labels, parts=ENCODER, num_layers=1)
    original.save(tmp_path / "model", "google")
    shapes = shapes_in(tmp_path / "model")
    bare = [name for name in GOOGLE_NAMES if name.startswith("bert/")]
    assert sorted(shapes) == sorted([*bare, *names])
    assert shapes[names[1]] == [len(labels.names), 24]


def test_hugging_face_s_file_has_the_published_names(tmp_path: Path) -> None:
    """Those that transformers wrote into the references of tests/parity."""
    references = Path(__file__).parents[1] / "parity" / "references"
    for reference, architecture in [
        ("pretraining", "BertForPreTraining"),
        ("pretraining_untied", "BertForPreTraining"),
        ("masked_lm_gelu_new", "BertForMaskedLM"),
        ("next_sentence", "BertForNextSentencePrediction"),
        ("sentence_classifier", "BertForSequenceClassification"),
        ("token_classifier", "BertForTokenClassification"),
        ("question_answering", "BertForQuestionAnswering"),
        ("encoder", "BertModel"),
    ]:
        bert_jax.load(references / reference).save(tmp_path / reference)
        ours = load_file(tmp_path / reference / "model.safetensors")
        theirs = load_file(references / reference / "model.safetensors")
        if architecture == "BertModel":
            theirs = {f"bert.{name}": array for name, array in theirs.items()}
        assert ours.keys() == theirs.keys(), reference
        # Where there are two biases, the one that is used is written twice.
        same = [n for n in ours if np.array_equal(ours[n], theirs[n])]
        unused = {"cls.predictions.bias"} if f"{DECODER}.bias" in theirs else set()
        assert ours.keys() - same == unused, reference
        written, read = (
            json.loads((folder / reference / "config.json").read_text())
            for folder in (tmp_path, references)
        )
        assert written["architectures"] == read["architectures"] == [architecture]
        shared = written.keys() & read.keys()
        assert {key: written[key] for key in shared} == {key: read[key] for key in shared}


def test_tables_are_of_one_size() -> None:
    """Both ways of writing a model know all of it."""
    assert google.TABLE.keys() == huggingface.TABLE.keys()


def test_place_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        make_bert().save(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["mine.txt"]
