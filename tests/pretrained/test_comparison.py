"""Two models side by side: what is compared, what is not, and what is said of it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from model_cases import make_model, make_tokenizer

from bert_jax import cli, parity
from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.labels import Labels, Task
from bert_jax.pretrained import Outputs, Pretrained
from bert_jax.pretrained.comparison import Comparison, Encode, compare
from bert_jax.pretrained.model import PRETRAINING


class Model:
    """A `Comparable`, with a tokenizer of the test's own."""

    def __init__(self, name: str, bert: Pretrained, encode: Encode | None = None):
        self.name = name
        self.vocab_size = bert.config.vocab_size
        self.max_positions = bert.config.max_positions
        self.encode: Encode | None = encode
        self.ids_seen = 0
        self._bert = bert

    def forward(
        self, input_ids: np.ndarray, segment_ids: np.ndarray, lengths: np.ndarray
    ) -> Outputs:
        self.ids_seen = max(self.ids_seen, int(input_ids.max()))
        return self._bert.forward(input_ids, segment_ids, lengths, attentions=True)


def encode_by(bert: Pretrained) -> Encode:
    def encode(text: str, pair: str | None) -> tuple[list[int], list[int]]:
        encoding = bert.tokenizer.encode(text, pair)
        return encoding.ids, encoding.segment_ids

    return encode


def padded(bert: Pretrained, num_rows: int) -> Pretrained:
    """The same model, its tables filled up with rows that would win every guess."""
    params = jax.tree.map(np.copy, bert.params)
    missing = num_rows - bert.config.vocab_size
    table = params["bert"]["embeddings"]["word_embeddings"]
    params["bert"]["embeddings"]["word_embeddings"] = np.pad(table, ((0, missing), (0, 0)))
    bias = params["predictions"]["bias"]
    params["predictions"]["bias"] = np.pad(bias, (0, missing), constant_values=1e3)
    config = dataclasses.replace(bert.config, vocab_size=num_rows)
    return Pretrained(BertForPreTraining(config), params, None)


def classifier(bert: Pretrained, task: Task, num_classes: int) -> Pretrained:
    """The same model with a classifier whose first class is always scored 1."""
    head = {"kernel": np.zeros((bert.config.width, num_classes)), "bias": np.ones(num_classes)}
    return Pretrained(
        bert.model,
        {**bert.params, "classifier": {"dense": jax.tree.map(np.float32, head)}},
        bert.tokenizer,
        parts=PRETRAINING | {"classifier"},
        labels=Labels(task, tuple(f"LABEL_{n}" for n in range(num_classes))),
    )


def compared(found: Comparison) -> list[str]:
    return [row.what for row in found.differences]


def test_a_model_is_equal_to_itself(bert: Pretrained) -> None:
    one, other = (Model(name, bert, encode_by(bert)) for name in "ab")
    found = compare(one, other)
    parts = ["attentions", "pooled", "mlm_logits", "nsp_logits"]
    assert compared(found) == ["embeddings", "layer 1", "layer 2", *parts]
    assert all(row.largest == 0 < row.tolerance for row in found.differences)
    assert (found.not_compared, found.tokenized) == ([], [])
    assert (found.same_first, found.same_top) == (1, 1)
    assert found.verdict == "equal to rounding"


@pytest.mark.parametrize("have_tokenizers", [("a", "more"), ("a",), ("more",), ()])
def test_padded_vocabulary_is_compared_on_the_common_rows(
    bert: Pretrained, have_tokenizers: tuple[str, ...]
) -> None:
    both = {"a": bert, "more": padded(bert, 208)}
    models = [
        Model(name, model, encode_by(bert) if name in have_tokenizers else None)
        for name, model in both.items()
    ]
    for pair in (models, models[::-1]):
        found = compare(*pair)
        assert found.not_compared == ["8 rows beyond the vocabulary"]
        assert found.is_rounding
        assert (found.same_first, found.same_top) == (1, 1)
        assert found.verdict == "what both have is equal to rounding"
    assert all(0 < model.ids_seen < 200 for model in models)


def test_another_vocabulary_is_refused(bert: Pretrained) -> None:
    other = make_model(make_tokenizer(150))
    with pytest.raises(UserError, match="a has 200 pieces in its vocabulary, b 150; they cannot"):
        compare(Model("a", bert), Model("b", other))


def test_ids_beyond_the_vocabulary_are_refused(bert: Pretrained) -> None:
    def encode(*_: str | None) -> tuple[list[int], list[int]]:
        return [0, 204], [0, 0]

    with pytest.raises(UserError, match="tokenizer of b gives the id 204, but only 200 ids"):
        compare(Model("a", bert), Model("b", padded(bert, 208), encode))


@pytest.mark.parametrize("num_heads", [1, 2])
def test_other_heads_are_not_compared(bert: Pretrained, num_heads: int) -> None:
    """One head would be broadcast to four."""
    other = make_model(bert.tokenizer, num_heads=num_heads)
    for pair, heads in (((bert, other), (4, num_heads)), ((other, bert), (num_heads, 4))):
        found = compare(*(Model(name, model) for name, model in zip("ab", pair, strict=True)))
        assert found.not_compared == [f"attentions (heads: {heads[0]} and {heads[1]})"]
        assert "attentions" not in compared(found)
        assert compared(found)[:3] == ["embeddings", "layer 1", "layer 2"]
        assert found.verdict == "the two differ by more than rounding"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("sentence", 3), ("sentence", 1), "class_logits (classes: 3 and 1)"),
        (("tokens", 2), ("tokens", 3), "class_logits (classes: 2 and 3)"),
        (("tokens", 3), ("sentence", 3), "class_logits (of tokens and of sentences)"),
        (("sentence", 3), None, "class_logits (a alone)"),
        (None, ("tokens", 3), "class_logits (b alone)"),
        (("sentence", 3), ("sentence", 3), None),
        (("tokens", 1), ("tokens", 1), None),
    ],
)
def test_other_classes_are_not_compared(
    bert: Pretrained, one: Any, other: Any, expected: str | None
) -> None:
    pair = [bert if made is None else classifier(bert, *made) for made in (one, other)]
    found = compare(*(Model(name, model) for name, model in zip("ab", pair, strict=True)))
    assert found.not_compared == ([] if expected is None else [expected])
    assert ("class_logits" in compared(found)) is (expected is None)
    assert found.is_rounding


def test_other_depth_and_width_are_refused(bert: Pretrained) -> None:
    for sizes, said in (({"num_layers": 1}, "1 of 32"), ({"width": 16}, "2 of 16")):
        other = make_model(bert.tokenizer, **sizes)
        with pytest.raises(UserError, match=f"a has 2 layers of width 32, b {said}; they cannot"):
            compare(Model("a", bert), Model("b", other))


def test_verdict_claims_no_more_than_was_compared(bert: Pretrained) -> None:
    cased = make_tokenizer(lowercase=False)
    assert cased.vocab_size == 200
    encode = encode_by(bert)
    other = encode_by(Pretrained(bert.model, bert.params, cased))
    assert compare(Model("a", bert, encode), Model("b", bert)).verdict == (
        "what both have is equal to rounding"
    )
    found = compare(Model("a", bert, encode), Model("b", bert, other))
    assert found.tokenized
    assert found.verdict == "equal to rounding, but the tokenizers differ"
    headless = Pretrained(bert.model, bert.params, cased, parts=frozenset({"pooler"}))
    found = compare(Model("a", bert, encode), Model("b", headless, other))
    assert found.not_compared == ["mlm_logits (a alone)", "nsp_logits (a alone)"]
    assert (found.same_first, found.same_top) == (None, None)
    assert found.verdict == "what both have is equal to rounding, but the tokenizers differ"


def test_parity_prints_what_was_not_compared(
    folder: Path,
    bert: Pretrained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(main: Callable, *arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with pytest.raises(SystemExit) as caught:
            cli.run(main)
        assert caught.value.code == 0
        return capsys.readouterr().out

    classifier(bert, "sentence", 3).save(tmp_path / "other")
    lines = run(parity.main, folder, tmp_path / "other").splitlines()
    assert any(line.startswith("not compared: class_logits (") for line in lines)
    assert lines[-1] == "what both have is equal to rounding"
