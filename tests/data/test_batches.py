"""Batch t: the layout of a row, and what a row may depend on."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from batch_cases import (
    assert_same,
    concatenated,
    make_batches,
    make_documents,
    make_tokenizer,
    unmasked,
)

from bert_jax.data.batches import Batch, Batches, predicted_tokens
from bert_jax.data.chunking import IS_NEXT
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.training import Recipe, train_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


def pieces_of(batch: Batch, tokenizer: Tokenizer) -> list[list[str]]:
    """The unmasked input, readable."""
    return [[tokenizer.token(token_id) for token_id in row] for row in unmasked(batch).tolist()]


def chosen_in(batch: Batch) -> list[set[int]]:
    """The places that are to be predicted."""
    return [
        set(places[weights > 0].tolist())
        for places, weights in zip(batch["mlm_positions"], batch["mlm_weights"], strict=True)
    ]


# The layout of a row.


def test_a_batch_has_the_shapes_and_types_of_the_contract(folder: Path) -> None:
    batch = make_batches(folder, make_documents(), seq_len=24).batch(0)
    shapes = {name: (value.shape, value.dtype.name) for name, value in batch.items()}
    assert shapes == {
        "input_ids": ((8, 24), "int32"),
        "segment_ids": ((8, 24), "int32"),
        "lengths": ((8,), "int32"),
        "mlm_positions": ((8, 4), "int32"),
        "mlm_ids": ((8, 4), "int32"),
        "mlm_weights": ((8, 4), "float32"),
        "nsp_labels": ((8,), "int32"),
    }


@pytest.mark.parametrize("specials", [Specials(), ["[MASK]", "[SEP]", "[UNK]", "[PAD]", "[CLS]"]])
def test_a_pair_is_cls_a_sep_b_sep(folder: Path, specials: Sequence[str]) -> None:
    """Specification 1.2, wherever the special tokens are in the vocabulary."""
    tokenizer = make_tokenizer(specials)
    documents = [["Paris is a beautiful city", "I love Paris"], ["w1 w2"]]
    batches = make_batches(
        folder, documents, tokenizer=tokenizer, seq_len=16, short_seq_prob=0.0, batch_size=64
    )
    batch = batches.batch(0)
    expected = "[CLS] paris is a beautiful city [SEP] i love paris [SEP]".split()
    (rows,) = np.nonzero((batch["nsp_labels"] == IS_NEXT) & (batch["segment_ids"].sum(axis=1) == 4))
    assert len(rows) > 3
    for row in rows:
        assert pieces_of(batch, tokenizer)[row] == expected + ["[PAD]"] * 5
        assert batch["segment_ids"][row].tolist() == [0] * 7 + [1] * 4 + [0] * 5
        assert batch["lengths"][row] == 11
        assert chosen_in(batch)[row] <= {1, 2, 3, 4, 5, 7, 8, 9}


def test_a_single_sentence_is_cls_a_sep_and_padding(folder: Path) -> None:
    """Specification 1.2: `I love Paris` to length 7 has the mask 1 1 1 1 1 0 0."""
    batches = make_batches(folder, [["I love Paris"]], nsp=False, seq_len=7, short_seq_prob=0.0)
    batch = batches.batch(0)
    tokens = ["[CLS]", "i", "love", "paris", "[SEP]", "[PAD]", "[PAD]"]
    assert pieces_of(batch, batches.tokenizer)[0] == tokens
    mask = np.arange(7) < batch["lengths"][:, None]
    assert mask[0].astype(int).tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert not batch["segment_ids"].any()


def test_without_nsp_there_are_no_labels(folder: Path) -> None:
    assert "nsp_labels" not in make_batches(folder, make_documents(), nsp=False).batch(0)


def test_rows_are_the_plan_s_tokens(folder: Path) -> None:
    """Every row of an epoch against the plan, token by token."""
    batches = make_batches(folder, make_documents(), batch_size=16, whole_word=True)
    corpus, tokenizer = batches.corpus, batches.tokenizer
    stream = corpus.read(np.arange(corpus.num_tokens)[None])[0][0].tolist()
    plan = batches.pairs.plan(
        corpus.sentences, batches.mixture.sources[0].documents, seed=0, epoch=0
    )
    expected = []
    for a, a_length, b, b_length, label in zip(
        plan.a_start, plan.a_length, plan.b_start, plan.b_length, plan.label, strict=True
    ):
        row = [tokenizer.cls_id, *stream[a : a + a_length], tokenizer.sep_id]
        row += [*stream[b : b + b_length], tokenizer.sep_id]
        expected.append((*row, *[tokenizer.pad_id] * (24 - len(row)), int(label)))
    rows = [
        (*ids.tolist(), int(label))
        for step in range(batches.num_batches_once)
        for batch in [batches.once(step)]
        for ids, label, length in zip(
            unmasked(batch), batch["nsp_labels"], batch["lengths"], strict=True
        )
        if length
    ]
    assert Counter(rows) == Counter(expected)
    assert rows != expected  # shuffled


def test_unmasked_is_what_tokens_were_hidden_of(folder: Path) -> None:
    batches = make_batches(folder, make_documents())
    batch, layout = batches.batch(3), batches.unmasked(3)
    np.testing.assert_array_equal(layout.ids, unmasked(batch))
    np.testing.assert_array_equal(layout.segment_ids, batch["segment_ids"])
    np.testing.assert_array_equal(layout.lengths, batch["lengths"])
    places = [set(np.flatnonzero(row).tolist()) for row in predicted_tokens(batch)]
    assert places == chosen_in(batch)
    assert layout.text[predicted_tokens(batch)].all()


def words_of(pieces: Sequence[str]) -> list[list[int]]:
    """The places of each word; special tokens stand between words."""
    words: list[list[int]] = []
    for place, piece in enumerate(pieces):
        if piece.startswith("##") and words and words[-1][-1] == place - 1:
            words[-1].append(place)
        elif piece not in Specials():
            words.append([place])
    return words


def test_words_are_hidden_whole_as_the_corpus_has_them(folder: Path) -> None:
    batches = make_batches(folder, make_documents(), whole_word=True, batch_size=200)
    batch = batches.batch(0)
    long_words = 0
    for pieces, chosen in zip(pieces_of(batch, batches.tokenizer), chosen_in(batch), strict=True):
        words = words_of(pieces)
        assert chosen <= {place for word in words for place in word}
        for word in words:
            assert len(chosen & set(word)) in (0, len(word))
            long_words += len(word) > 1 and bool(chosen & set(word))
    assert long_words > 50


# What a batch may depend on.


def test_a_batch_does_not_depend_on_those_before_it(folder: Path) -> None:
    in_order, jumping = (make_batches(folder, make_documents()) for _ in range(2))
    batches = [in_order.batch(step) for step in range(40)]
    for step in (39, 3, 17, 0, 38, 3):
        assert_same(jumping.batch(step), batches[step])


def test_batches_are_the_same_from_several_threads(folder: Path) -> None:
    alone, together = (make_batches(folder, make_documents()) for _ in range(2))
    steps = list(range(0, 100, 7)) * 2
    with ThreadPoolExecutor(8) as pool:
        for step, batch in zip(steps, pool.map(together.batch, steps), strict=True):
            assert_same(batch, alone.batch(step))


@pytest.mark.parametrize("num_hosts", [2, 4])
def test_hosts_build_the_global_batch_together(folder: Path, num_hosts: int) -> None:
    batches = make_batches(folder, make_documents())
    per_host = 8 // num_hosts
    last = batches.num_batches_once - 1
    for build, step in (batches.batch, 2), (batches.batch, last), (batches.once, last):
        parts = [
            build(step, slice(host * per_host, (host + 1) * per_host)) for host in range(num_hosts)
        ]
        assert_same(concatenated(parts), build(step))


def test_the_seed_decides(folder: Path) -> None:
    zero, again, one = (make_batches(folder, make_documents(), seed=seed) for seed in (0, 0, 1))
    assert_same(zero.batch(0), again.batch(0))
    assert (unmasked(zero.batch(0)) != unmasked(one.batch(0))).any()


def test_the_batch_size_only_cuts_the_stream_of_examples(folder: Path) -> None:
    eight = make_batches(folder, make_documents(), batch_size=8)
    twelve = make_batches(folder, make_documents(), batch_size=12)
    assert_same(
        concatenated([eight.batch(step) for step in range(9)]),
        concatenated([twelve.batch(step) for step in range(6)]),
    )


def test_a_later_phase_goes_on_where_the_one_before_stopped(folder: Path) -> None:
    """Five batches of 8, then of 12: the same stream of examples, from the 40th on."""
    eight = make_batches(folder, make_documents(), batch_size=8)
    later = make_batches(folder, make_documents(), batch_size=12, first_step=5, first_example=40)
    assert_same(
        concatenated([eight.batch(step) for step in range(5, 11)]),
        concatenated([later.batch(step) for step in range(5, 9)]),
    )


# Epochs.


def epochs_of(batches: Batches, num: int) -> list[Batch]:
    """The examples of the first epochs, cut at their borders."""
    size = batches.num_examples
    steps = -(-num * size // batches.batch_size)
    stream = concatenated([batches.batch(step) for step in range(steps)])
    return [
        {name: value[epoch * size : (epoch + 1) * size] for name, value in stream.items()}
        for epoch in range(num)
    ]


def by_text(batch: Batch) -> dict[bytes, set[int]]:
    """The hidden places of each example, by its text."""
    texts = unmasked(batch)
    assert len({text.tobytes() for text in texts}) == len(texts)
    return {text.tobytes(): chosen for text, chosen in zip(texts, chosen_in(batch), strict=True)}


def test_every_epoch_has_every_example_in_a_new_order_under_new_masks(folder: Path) -> None:
    """Without next sentences the plan of every epoch is the same."""
    batches = make_batches(folder, make_documents(), nsp=False, short_seq_prob=0.0, batch_size=9)
    assert batches.num_examples % batches.batch_size  # borders lie within batches
    first, second, third = (epochs := epochs_of(batches, 3))
    masks = [by_text(epoch) for epoch in epochs]
    assert masks[0].keys() == masks[1].keys() == masks[2].keys()
    assert (unmasked(first) != unmasked(second)).any(axis=1).mean() > 0.9
    assert (unmasked(second) != unmasked(third)).any(axis=1).mean() > 0.9
    # Two masks of about 3 of 20 tokens agree one time in a thousand.
    changed = [masks[0][text] != masks[1][text] for text in masks[0]]
    assert np.mean(changed) > 0.95


def test_masks_differ_between_epochs_and_seeds_at_the_same_place(folder: Path) -> None:
    """All rows are full, so they would have the same places hidden, whatever their text."""
    documents = [["w1"] * 220] * 10  # ten rows of 22 each
    options = {"nsp": False, "short_seq_prob": 0.0}
    zero, one = (
        epochs_of(make_batches(folder, documents, seed=seed, **options), 2) for seed in (0, 1)
    )
    for first, second in ((zero[0], zero[1]), (zero[0], one[0]), (one[0], one[1])):
        assert (first["lengths"] == 24).all()
        same = (first["mlm_positions"] == second["mlm_positions"]).all(axis=1)
        assert same.mean() < 0.1


def test_every_epoch_has_new_pairs(folder: Path) -> None:
    batches = make_batches(folder, make_documents())
    texts = [{text.tobytes() for text in unmasked(epoch)} for epoch in epochs_of(batches, 3)]
    assert len(texts[0] & texts[1]) < len(texts[0]) / 2
    assert len(texts[1] & texts[2]) < len(texts[1]) / 2


def test_no_training_batch_has_padding_rows(folder: Path) -> None:
    batches = make_batches(folder, make_documents())
    for step in range(4 * batches.num_batches_once):  # epochs of several lengths
        batch = batches.batch(step)
        assert (batch["lengths"] >= 5).all()
        assert (batch["mlm_weights"].sum(axis=1) >= 1).all()


def test_once_has_every_example_once_and_then_padding(folder: Path) -> None:
    batches = make_batches(folder, make_documents())
    size = batches.num_examples
    assert size % 8
    stream = concatenated([batches.once(step) for step in range(batches.num_batches_once)])
    real = {name: value[:size] for name, value in stream.items()}
    assert_same(real, epochs_of(batches, 1)[0])
    assert (real["lengths"] > 0).all()
    assert 0 < len(stream["lengths"]) - size < 8
    for name, value in stream.items():
        padding = batches.tokenizer.pad_id if name == "input_ids" else 0
        assert (value[size:] == padding).all(), name


def test_once_is_all_padding_past_its_end(folder: Path) -> None:
    batches = make_batches(folder, make_documents())
    batch = batches.once(batches.num_batches_once + 3)
    assert not batch["lengths"].any()
    assert not batch["mlm_weights"].any()


# Korean.


def test_korean_is_masked_by_eojeol(folder: Path) -> None:
    """From text to a vocabulary to whole-word masks; particles belong to their word."""
    sentences = [
        "나는 파리를 사랑한다.",
        "파리는 아름다운 도시이다.",
        "그녀는 학교에서 한국어를 배웠다.",
        "학교에는 학생들이 많았다.",
        "우리는 아름다운 도시에서 살았다.",
        "학생들은 한국어로 이야기했다.",
    ]
    documents = [[*sentences[n:], *sentences[:n]] for n in range(6)]
    recipe = Recipe(vocab_size=75)
    tokenizer = train_tokenizer(count_chunks(sentences, recipe.cut), recipe)
    batches = make_batches(
        folder,
        documents,
        tokenizer=tokenizer,
        seq_len=128,  # nothing is cut
        short_seq_prob=0.0,
        whole_word=True,
        batch_size=64,
    )
    batch = batches.batch(0)
    hidden: set[str] = set()
    for pieces, chosen in zip(pieces_of(batch, tokenizer), chosen_in(batch), strict=True):
        assert "[UNK]" not in pieces
        for word in words_of(pieces):
            assert len(chosen & set(word)) in (0, len(word))
            if chosen & set(word):
                hidden.add("".join(pieces[place].removeprefix("##") for place in word))
    assert hidden == {word for sentence in sentences for word in sentence[:-1].split()} | {"."}


# What is refused.


def test_an_empty_corpus_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="the corpus is empty"):
        make_batches(folder, [[" "]])


def test_one_document_is_refused_for_pairs_only(folder: Path) -> None:
    with pytest.raises(UserError, match=r"one document.*--config.pairs.nsp=False"):
        make_batches(folder, make_documents(1))
    assert make_batches(folder, make_documents(1), nsp=False).num_examples > 1
    assert make_batches(folder, make_documents(1), negatives="swapped").num_examples > 1


def test_single_tokens_have_no_order(folder: Path) -> None:
    with pytest.raises(UserError, match="every document is a single token"):
        make_batches(folder, [["paris"], ["city"]], negatives="swapped")
