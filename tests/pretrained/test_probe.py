"""A linear classifier on frozen vectors: what it learns, what its file holds."""

import json
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.pretrained.probe import LinearProbe, TextClassifier, fit, load_classifier
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime
from bert_jax.training.steps import init_params

WORDS = "i we sam love loved hated hate like dislike the a movie food paris it great bad".split()
HOW = {"pooling": "mean", "layers": -1, "mix": None, "too_long": "truncate"}


def random_bert(seed: int = 0, width: int = 32) -> Pretrained:
    size = {"num_layers": 2, "num_heads": 2, "width": width, "max_positions": 16}
    config = BertConfig(vocab_size=len(Specials()) + len(WORDS), **size)
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")
    tokenizer = Tokenizer(wordpiece_runtime([*Specials(), *WORDS], rules.bert()))
    model = BertForPreTraining(config)
    return Pretrained(model, init_params(model, jax.random.key(seed)), tokenizer)


def blobs(
    *names: str, each: int = 40, width: int = 6, apart: float = 2.0
) -> tuple[np.ndarray, list[str]]:
    """Vectors of some classes, mixed; scales and offsets differ much, one number is constant."""
    generator = np.random.default_rng(0)
    labels = [name for _ in range(each) for name in names]
    centers = {name: apart * generator.normal(size=width) for name in names}
    vectors = np.stack([centers[name] + generator.normal(size=width) for name in labels])
    vectors = vectors * np.array([1, 100, 0.01, 1, 1, 0]) + np.array([0, 1000, 0, -5, 3, 7])
    return vectors.astype(np.float32), labels


@pytest.mark.parametrize("names", [("no", "yes"), ("a", "b", "c"), ("3", "10", "2", "1")])
def test_it_is_scikit_learns_regression_with_the_scaler_folded_in(names: tuple[str, ...]) -> None:
    vectors, labels = blobs(*names)
    train, test = slice(len(labels) // 2), slice(len(labels) // 2, None)
    probe = fit(vectors[train], labels[train])
    assert probe.labels == tuple(sorted(names))
    assert probe.weights.shape == (vectors.shape[1], len(names))
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=probe.strength, max_iter=1000))
    expected.fit(vectors[train].astype(float), labels[train])
    np.testing.assert_allclose(
        probe.probabilities(vectors[test]),
        expected.predict_proba(vectors[test].astype(float)),
        atol=1e-6,
    )
    assert probe.predict(vectors[test]) == expected.predict(vectors[test]).tolist()
    assert np.mean(np.array(probe.predict(vectors[test])) == labels[test]) > 0.8


def test_the_penalty_is_stronger_where_vectors_say_nothing() -> None:
    vectors, labels = blobs("a", "b", apart=0)
    random_labels = list(np.random.default_rng(1).permutation(labels))
    assert fit(vectors, random_labels).strength < fit(*blobs("a", "b", apart=9)).strength


def test_two_examples_of_a_label_suffice() -> None:
    vectors = np.array([[0.0], [0.1], [0.9], [1.0], [1.1]])
    probe = fit(vectors, ["a", "a", "b", "b", "b"])
    assert probe.predict(np.array([[0.0], [1.0]])) == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (["a", "a", "a"], "all 3 examples have one label; give some of another"),
        (["a", "a", "b"], "label 'b' has a single example to learn from; give two or more"),
    ],
)
def test_too_few_examples_are_refused(labels: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        fit(np.eye(3), labels)


def test_probabilities_of_large_scores_are_finite() -> None:
    probe = LinearProbe(np.array([[-1.0, 1.0]]), np.zeros(2), ("a", "b"), 1.0)
    found = probe.probabilities(np.array([[1e6], [-1e6], [0.0]]))
    np.testing.assert_allclose(found, [[0, 1], [1, 0], [0.5, 0.5]])


def test_opinions_are_learnt_from_the_vectors_of_a_frozen_model() -> None:
    bert = random_bert()
    before = jax.tree.map(np.array, bert.params)
    people, things = ("i", "we", "sam"), ("the movie", "the food", "it", "paris")
    verbs = {"love": "1", "loved": "1", "like": "1", "hate": "0", "hated": "0", "dislike": "0"}
    every = [
        (f"{person} {verb} {thing}", label)
        for person in people
        for thing in things
        for verb, label in verbs.items()
    ]
    # Nothing of what is asked below was seen, whatever its verb.
    asked = {"i love paris": "1", "sam hated the movie": "0", "we like it": "1", "i hate it": "0"}
    held_out = every[::5]
    train = [
        (text, label)
        for number, (text, label) in enumerate(every)
        if number % 5 and text not in asked
    ]
    probe = fit(bert.embed([text for text, _ in train]), [label for _, label in train])
    classifier = TextClassifier.of(bert, probe, HOW)
    found = probe.predict(bert.embed([text for text, _ in held_out]))
    assert np.mean(np.array(found) == [label for _, label in held_out]) > 0.9
    best = classifier.probabilities(bert, ["I love Paris", "Sam hated the movie", *asked])
    assert [probe.labels[i] for i in best.argmax(axis=1)] == ["1", "0", *asked.values()]
    jax.tree.map(np.testing.assert_array_equal, bert.params, before)


# Its file.


def small_classifier(bert: Pretrained, **how: object) -> TextClassifier:
    texts, labels = (
        ["i love it", "we love it", "i hate it", "we hate it"],
        ["1", "1", "나쁨", "나쁨"],
    )
    settings = HOW | how
    return TextClassifier.of(bert, fit(bert.embed(texts, **settings), labels), settings)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"pooling": "cls", "layers": 1},
        {"layers": "all", "mix": "concat"},
        {"pooling": "pooled"},
    ],
)
def test_a_written_classifier_is_the_same(tmp_path: Path, how: dict) -> None:
    bert = random_bert()
    classifier = small_classifier(bert, **how)
    classifier.save(tmp_path / "a.npz")
    loaded = load_classifier(tmp_path / "a.npz")
    assert loaded.how == HOW | how
    assert loaded.probe.labels == ("1", "나쁨")
    assert loaded.probe.strength == classifier.probe.strength
    texts = ["sam loved paris", ""]
    np.testing.assert_array_equal(
        loaded.probabilities(bert, texts), classifier.probabilities(bert, texts)
    )


def test_the_file_holds_numbers_and_json_only(tmp_path: Path) -> None:
    small_classifier(random_bert()).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert {name: arrays[name].shape for name in arrays} == {
            "weights": (32, 2),
            "bias": (2,),
            "anchor": (32,),
            "about": (),
        }
        assert json.loads(str(arrays["about"]))["how"] == HOW


@pytest.mark.parametrize("other", [{"seed": 1}, {"width": 64}], ids=["seed", "width"])
def test_a_classifier_of_another_model_is_refused(other: dict) -> None:
    classifier = small_classifier(random_bert())
    with pytest.raises(UserError, match="was trained with another model"):
        classifier.probabilities(random_bert(**other), ["i love it"])


def test_rounding_makes_no_other_model() -> None:
    bert = random_bert()
    classifier = small_classifier(bert)
    rounded = jax.tree.map(lambda array: array.astype("bfloat16").astype("float32"), bert.params)
    classifier.probabilities(Pretrained(bert.model, rounded, bert.tokenizer), ["i love it"])


def _pickled(path: Path) -> None:
    np.savez(path, about=np.array([{"labels": 1}], dtype=object))


def _misshapen(path: Path) -> None:
    about = np.array(json.dumps({"labels": ["a", "b"], "strength": 1, "how": {}}))
    np.savez(path, weights=np.zeros((3, 2)), bias=np.zeros(2), anchor=np.zeros(4), about=about)


def _other_arrays(path: Path) -> None:
    np.savez(path, vectors=np.zeros(3))


def _one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _cut(path: Path) -> None:
    np.savez(path, vectors=np.zeros(3))
    path.write_bytes(path.read_bytes()[:-40])


def _text(path: Path) -> None:
    path.write_text("I love Paris")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _damaged(path: Path) -> None:
    small_classifier(random_bert()).save(path)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("weights.npy").header_offset
    data = bytearray(path.read_bytes())
    data[start + 300 : start + 310] = b"0123456789"
    path.write_bytes(data)


@pytest.mark.parametrize(
    "write",
    [_pickled, _misshapen, _other_arrays, _one_array, _cut, _text, _empty, _damaged],
)
def test_what_is_no_classifier_is_refused(tmp_path: Path, write: object) -> None:
    write(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a\.npz is no classifier that linear_probe --output"):
        load_classifier(tmp_path / "a.npz")


def test_a_classifier_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.npz is no file"):
        load_classifier(tmp_path / "a.npz")
