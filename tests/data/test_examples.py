"""Mixtures: whose example is which, as a pure function of its number."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from batch_cases import assert_same, concatenated, make_documents, make_tokenizer

from bert_jax.data.batches import Batches
from bert_jax.data.corpus import Corpus
from bert_jax.data.corpus_writer import write_corpus
from bert_jax.data.masking import Masking
from bert_jax.data.pairs import Pairs
from bert_jax.errors import UserError

BORDERS = (6, 12, 20)  # documents of three sources


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("mixture") / "corpus"
    write_corpus(folder, make_documents(BORDERS[-1]), make_tokenizer(), source="")
    return Corpus(folder, make_tokenizer())


def make_mixture(
    corpus: Corpus, weights: Sequence[float], *, batch_size: int = 64, seed: int = 0
) -> Batches:
    documents = np.split(np.arange(BORDERS[-1]), BORDERS[:-1])[: len(weights)]
    return Batches(
        corpus,
        make_tokenizer(),
        pairs=Pairs(seq_len=24),
        masking=Masking(),
        batch_size=batch_size,
        seed=seed,
        documents=documents,
        weights=weights,
    )


def owners(batches: Batches, numbers: np.ndarray) -> np.ndarray:
    """Which source the first segment of each example is of."""
    plan, *_ = batches.mixture.look_up(numbers)
    borders = batches.corpus.sentences.offsets[batches.corpus.sentences.documents]
    document = np.searchsorted(borders, plan.a_start, side="right") - 1
    return np.searchsorted(BORDERS, document, side="right")


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ((0.5, 0.5), (512, 512)),
        ((0.2, 0.8), (205, 819)),
        ((1 / 3, 1 / 3, 1 / 3), (342, 341, 341)),
        ((0.001, 0.333, 0.666), (1, 341, 682)),
    ],
)
def test_each_source_has_its_share_of_every_1024_examples(
    corpus: Corpus, weights: Sequence[float], shares: Sequence[int]
) -> None:
    batches = make_mixture(corpus, weights)
    for first in (0, 1024, 1024 * 1000):
        count = Counter(owners(batches, np.arange(first, first + 1024)).tolist())
        assert tuple(count[source] for source in range(len(weights))) == shares


def test_sources_stand_in_random_places(corpus: Corpus) -> None:
    batches = make_mixture(corpus, (0.5, 0.5))
    found = owners(batches, np.arange(10 * 1024))
    runs = np.count_nonzero(np.diff(found)) + 1
    # The runs test of Wald and Wolfowitz: mean n/2 + 1, standard deviation nearly √n / 2.
    assert abs(runs - (len(found) / 2 + 1)) < 4 * np.sqrt(len(found)) / 2
    other_seed = make_mixture(corpus, (0.5, 0.5), seed=1)
    assert (owners(other_seed, np.arange(1024)) != found[:1024]).any()


def test_a_source_goes_round_its_own_documents_as_it_would_alone(corpus: Corpus) -> None:
    """Every example of each of its epochs, and none twice."""
    batches = make_mixture(corpus, (0.3, 0.7))
    source = batches.mixture.sources[1]
    numbers = np.arange(3 * 1024)
    plan, *_ = batches.mixture.look_up(numbers)
    mine = np.flatnonzero(owners(batches, numbers) == 1)
    expected, *_ = source.look_up(np.arange(len(mine)))
    for period in range(3):
        span = slice(717 * period, 717 * (period + 1))
        found = np.stack([plan.a_start, plan.a_length, plan.b_start, plan.b_length])[:, mine[span]]
        assert sorted(map(tuple, found.T.tolist())) == sorted(
            map(tuple, expected[:4, span].T.tolist())
        )


def test_the_second_segment_is_of_the_same_source(corpus: Corpus) -> None:
    batches = make_mixture(corpus, (0.3, 0.7))
    plan, *_ = batches.mixture.look_up(np.arange(2048))
    border = corpus.sentences.offsets[corpus.sentences.documents[BORDERS[0]]]
    np.testing.assert_array_equal(plan.a_start < border, plan.b_start < border)


def test_no_two_examples_share_their_masks(corpus: Corpus) -> None:
    _, keys, _ = make_mixture(corpus, (0.3, 0.7)).mixture.look_up(np.arange(20_000))
    assert len(np.unique(keys)) == 20_000


def test_a_mixture_of_one_is_the_source(corpus: Corpus) -> None:
    alone, mixed = make_mixture(corpus, (1.0,)), make_mixture(corpus, (0.5, 0.5))
    assert alone.mixture.epochs(alone.num_examples) == [1.0]
    assert mixed.num_examples > alone.num_examples


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_rows_do_not_depend_on_the_hosts(corpus: Corpus, hosts: int) -> None:
    batches = make_mixture(corpus, (0.2, 0.3, 0.5))
    rows = 64 // hosts
    for step in (0, 15, 16, 900):  # 16 batches are a period
        parts = [
            make_mixture(corpus, (0.2, 0.3, 0.5)).batch(step, slice(n * rows, (n + 1) * rows))
            for n in range(hosts)
        ]
        assert_same(concatenated(parts), batches.batch(step))


def test_epochs_are_counted_for_each_source(corpus: Corpus) -> None:
    mixture = make_mixture(corpus, (0.25, 0.75)).mixture
    first, second = (source.num_examples for source in mixture.sources)
    assert mixture.epochs(1000) == [250 / first, 750 / second]
    mean = 0.25 * mixture.sources[0].tokens_per_row + 0.75 * mixture.sources[1].tokens_per_row
    assert mixture.tokens_per_row == pytest.approx(mean)


def test_a_weight_that_rounds_to_nothing_is_refused(corpus: Corpus) -> None:
    with pytest.raises(UserError, match=r"a weight of 0\.0001 would hardly be seen.*1/1024"):
        make_mixture(corpus, (0.0001, 0.9999))
