"""Named entities: what is labelled, what is read off the scores, and how it is judged."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.interop.settings import Labels
from bert_jax.tasks.conll_files import Sentence, read_sentences, sentence_of_words
from bert_jax.tasks.scores import conll
from bert_jax.tasks.tagging import Tagged, Tagging
from bert_jax.tasks.tagging_rows import Unit, parts_of
from bert_jax.tasks.tags import as_iob2
from bert_jax.tasks.task import Row, Task, TrainingRow
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.training import Recipe, train_tokenizer

PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] Paris is in France . Em ##pire State Build ##ing U S "
    "서울 ##역 ##은 경찰 ##청 에 역 한국 ##이 a ##a b ##b"
).split()
LABELS = Labels("tokens", ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": False, "strip_accents": False})
    )
    return load_tokenizer(folder)


def sentence(words: str, tags: str) -> Sentence:
    return sentence_of_words(words.split(" "), tags.split(" "))


def characters(text: str, tags: str) -> Sentence:
    """Tags written one letter a character: O, B and I of LOC, b and i of PER."""
    names = {"O": "O", "B": "B-LOC", "I": "I-LOC", "b": "B-PER", "i": "I-PER"}
    return sentence_of_words(text, [names[each] for each in tags], "character")


def one_hot(rows: Sequence[TrainingRow]) -> Callable[[Sequence[Row]], list]:
    """Scores that are right where something is asked, and noise everywhere else."""

    def scores_of(asked: Sequence[Row]) -> list[np.ndarray]:
        assert [each.row for each in rows] == list(asked)
        noise = np.random.default_rng(0)
        found = []
        for row in rows:
            labels = np.array(row.targets["labels"], int)
            weights = np.array(row.targets["label_weights"])[:, None]
            scores = noise.normal(size=(len(labels), 64)) * 10 * (1 - weights)
            found.append((scores + weights * 9 * np.eye(64)[labels]).astype(np.float32))
        return found

    return scores_of


def perfect(
    task: Tagging, tokenizer: Tokenizer, sentences: Sequence[Sentence]
) -> tuple[list[Tagged], Labels]:
    """What a model says that has learnt all there is."""
    labels = task.labels(sentences)
    padded = Labels("tokens", labels.names + ("O",) * (64 - len(labels.names)))
    rows, _ = task.training_rows(tokenizer, sentences, labels)
    return task.predict(tokenizer, sentences, padded, one_hot(rows)), labels


def test_it_is_a_task() -> None:
    task: Task = Tagging()
    assert task.max_length == 128


def test_the_first_piece_of_a_word_is_labelled_and_nothing_else(tokenizer: Tokenizer) -> None:
    example = sentence("Empire Building is \x01 in Paris", "B-PER I-PER O O O B-LOC")
    (row,), remarks = Tagging().training_rows(tokenizer, [example], LABELS)
    tokens = [tokenizer.token(token) for token in row.row.ids]
    assert tokens == "[CLS] Em ##pire Build ##ing is [UNK] in Paris [SEP]".split()
    assert row.targets["labels"] == [0, 3, 0, 4, 0, 0, 0, 0, 1, 0]
    assert row.targets["label_weights"] == [0, 1, 0, 1, 0, 1, 1, 1, 1, 0]
    assert row.row.segment_ids == [0] * 10
    assert remarks == []


def test_a_long_sentence_is_labelled_once_in_parts_with_something_around_each_word(
    tokenizer: Tokenizer,
) -> None:
    words = ["Paris", "Empire", "is"] * 20  # 80 pieces
    tags = ["B-LOC", "B-PER", "O"] * 20
    example = sentence_of_words(words, tags)
    task = Tagging(max_length=22)
    rows, remarks = task.training_rows(tokenizer, [example], LABELS)
    assert remarks == [
        "1 of 1 sentences have more than 22 tokens and are read in parts that overlap"
    ]
    labelled = []
    for row in rows:
        assert len(row.row.ids) <= 22
        assert not tokenizer.token(row.row.ids[1]).startswith("##")  # cut between words
        places = np.flatnonzero(row.targets["label_weights"]).tolist()
        labelled += [LABELS.names[int(row.targets["labels"][place])] for place in places]
        if row is not rows[0]:
            assert places[0] >= 4
        if row is not rows[-1]:
            assert places[-1] <= 22 - 1 - 4
    assert labelled == tags
    predictions, _ = perfect(task, tokenizer, [example])
    assert predictions[0].tags == example.tags


@given(st.lists(st.integers(1, 9), max_size=60), st.integers(9, 30))
def test_parts_fit_and_answer_for_every_unit_once(lengths: list[int], room: int) -> None:
    units = [Unit([0] * length, n, n + 1) for n, length in enumerate(lengths)]
    parts = parts_of(units, room)
    answered = [n for part in parts for n in range(part.answers, part.answers_stop)]
    assert answered == list(range(len(units)))
    for part in parts:
        assert part.start <= part.answers <= part.answers_stop <= part.stop
        assert sum(lengths[part.start : part.stop]) <= room
    stops = [part.stop for part in parts]
    assert stops == sorted(set(stops))  # each goes on
    if sum(lengths) <= room:
        assert len(parts) <= 1


def test_characters_are_shown_as_their_text_s_pieces(tokenizer: Tokenizer) -> None:
    """A space has no piece, nor has a control character; 역 and 은 have one each."""
    example = characters("한국 서울 역은\x01", "biiBIIIOO")
    task = Tagging(level="character")
    (row,), remarks = task.training_rows(tokenizer, [example], LABELS)
    tokens = [tokenizer.token(token) for token in row.row.ids]
    assert tokens == "[CLS] 한국 서울 역 ##은 [SEP]".split()
    assert row.targets["labels"] == [0, 3, 1, 2, 0, 0]
    assert row.targets["label_weights"] == [0, 1, 1, 1, 1, 0]
    # The space after 한국 is tagged as inside it, and nothing goes on there.
    assert remarks == [
        "1 of 2 entities begin or end inside a piece of the tokenizer and cannot be found as "
        "they are"
    ]
    (tagged,), _ = perfect(task, tokenizer, [example])
    assert [entity[:4] for entity in tagged.entities] == [
        ("PER", "한국", 0, 2),
        ("LOC", "서울 역", 3, 7),
    ]
    assert tagged.tags == characters("한국 서울 역은\x01", "biOBIIIOO").tags
    assert len(tagged.probabilities) == len(example.words)


def test_an_entity_that_ends_inside_a_piece_is_told_of(tokenizer: Tokenizer) -> None:
    whole, torn = characters("경찰청", "bii"), characters("경찰", "bO")
    _, remarks = Tagging(level="character").training_rows(tokenizer, [whole, torn], LABELS)
    assert remarks[0].startswith("1 of 2 entities begin or end inside a piece")


def test_pieces_of_bytes_speak_for_a_character_once_and_not_for_the_space_before_it() -> None:
    recipe = Recipe(vocab_size=264, type="byte_bpe")
    tokenizer = train_tokenizer(count_chunks(["나 서 서 서 서"], recipe.cut), recipe)
    example = characters("나 서힣 b", "BObiOO")
    task = Tagging(level="character")
    (row,), remarks = task.training_rows(tokenizer, [example], LABELS)
    encoding = tokenizer.encode(example.text)
    assert "ĠìĦľ" in encoding.tokens  # " 서", a single piece
    weights = row.targets["label_weights"]
    labelled = [span for span, weight in zip(encoding.offsets, weights, strict=True) if weight]
    assert labelled == [(0, 1), (1, 3), (3, 4), (5, 6)]
    assert remarks == []
    (tagged,), _ = perfect(task, tokenizer, [example])
    assert tagged.tags == example.tags


WORDS = st.text(min_size=1).filter(lambda word: "[" not in word)
TAGGED = st.lists(
    st.tuples(WORDS | st.sampled_from(["aab", "Paris"]), st.sampled_from(LABELS.names)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60)
@given(st.lists(TAGGED, min_size=1, max_size=3), st.integers(3, 20))
def test_perfect_scores_give_an_f1_of_100(
    tokenizer: Tokenizer, drawn: list[list[tuple[str, str]]], max_length: int
) -> None:
    """Whatever the words and however long: nothing is cut that has to be tagged."""
    drawn = [*drawn, [("Paris", "B-LOC")]]
    examples = [
        sentence_of_words([word for word, _ in each], as_iob2([tag for _, tag in each]))
        for each in drawn
    ]
    task = Tagging(max_length=max_length)
    predictions, labels = perfect(task, tokenizer, examples)
    evaluation = task.evaluate(examples, predictions, labels)
    assert evaluation.figures == {"precision": 100, "recall": 100, "f1": 100, "accuracy": 100}
    assert evaluation.wrong == []
    for example, tagged in zip(examples, predictions, strict=True):
        for entity in tagged.entities:
            assert example.text[entity.start : entity.end] == entity.text
            assert 0.9 < entity.score <= 1


@settings(max_examples=60)
@given(st.text("서울역은 경찰청에한국이a\x01b", max_size=80), st.integers(3, 12), st.data())
def test_characters_are_found_as_far_as_the_remark_says(
    tokenizer: Tokenizer, text: str, max_length: int, data: st.DataObject
) -> None:
    text += " 서울"
    drawn = st.lists(st.sampled_from("OBIbi"), min_size=len(text) - 2, max_size=len(text) - 2)
    example = characters(text, "".join(data.draw(drawn)) + "BI")
    example = replace(example, tags=as_iob2(example.tags))
    task = Tagging(level="character", max_length=max_length)
    (tagged,), labels = perfect(task, tokenizer, [example])
    assert len(tagged.tags) == len(text)
    _, remarks = task.training_rows(tokenizer, [example], labels)
    torn = [int(remark.split()[0]) for remark in remarks if "inside a piece" in remark]
    missed = set(conll.chunks(example.tags)).difference(conll.chunks(tagged.tags))
    assert len(missed) == sum(torn)


def test_a_word_of_100000_characters_is_one_word(tokenizer: Tokenizer) -> None:
    recipe = Recipe(vocab_size=262, type="byte_bpe")
    of_bytes = train_tokenizer(count_chunks(["a b c a b c"], recipe.cut), recipe)
    example = sentence_of_words(["a", "x" * 10**5, "b"], ["O", "B-LOC", "B-PER"])
    for each in (tokenizer, of_bytes):  # one [UNK], and 10^5 pieces
        predictions, _ = perfect(Tagging(), each, [example])
        assert predictions[0].tags == example.tags
        rows, _ = Tagging().training_rows(each, [example], LABELS)
        assert max(len(row.row.ids) for row in rows) <= 128
    text = characters("x" * 10**5, "B" + "I" * (10**5 - 1))
    predictions, _ = perfect(Tagging(level="character"), of_bytes, [text])
    assert [entity[:4] for entity in predictions[0].entities] == [("LOC", text.text, 0, 10**5)]


def scores(task: Tagging, tokenizer: Tokenizer, example: Sentence, tags: str) -> Tagged:
    """What is made of tags, each with odds of 3 to 1 for every other class."""
    numbers = [LABELS.names.index(tag) for tag in tags.split()]
    logits = np.zeros((len(numbers) + 2, len(LABELS.names)), np.float32)
    logits[np.arange(len(numbers)) + 1, numbers] = np.log(3)
    (tagged,) = task.predict(tokenizer, [example], LABELS, lambda rows: [logits for _ in rows])
    return tagged


def test_predictions_have_probabilities_entities_and_their_places(tokenizer: Tokenizer) -> None:
    task = Tagging()
    example = task.example({"text": "Paris is in  France."})
    tagged = scores(task, tokenizer, example, "I-LOC I-PER O B-LOC I-LOC")
    # A type that begins with I- begins an entity, as conlleval reads it.
    assert tagged.tags == ("B-LOC", "B-PER", "O", "B-LOC", "I-LOC")
    assert tagged.probabilities == pytest.approx([3 / 7] * 5)
    record = task.record(example, tagged)
    assert json.loads(json.dumps(record)) == record
    assert record["text"] == "Paris is in  France."
    assert record["tokens"] == ["Paris", "is", "in", "France", "."]
    assert record["tags"] == list(tagged.tags)
    assert record["entities"][2] == {
        "type": "LOC",
        "text": "France.",
        "start": 13,
        "end": 20,
        "score": pytest.approx(3 / 7),
    }
    characters_task = Tagging(level="character")
    example = characters_task.example({"text": "서울 역"})
    tagged = scores(characters_task, tokenizer, example, "B-LOC I-LOC")
    record = characters_task.record(example, tagged)
    assert "tokens" not in record
    assert record["tags"] == ["B-LOC", "I-LOC", "I-LOC", "I-LOC"]


def test_a_text_without_words_has_no_entities(tokenizer: Tokenizer) -> None:
    for task, texts in [(Tagging(), ["", " \n"]), (Tagging(level="character"), ["", " ", "\x01"])]:
        examples = [task.example({"text": text}) for text in texts]
        assert task.training_rows(tokenizer, examples, LABELS) == ([], [])
        for example, tagged in zip(
            examples, task.predict(tokenizer, examples, LABELS, lambda _: []), strict=True
        ):
            assert tagged.entities == ()
            assert tagged.tags == ("O",) * len(example.words)
            assert tagged.probabilities == (1.0,) * len(example.words)


def test_figures_by_type_and_the_surest_wrong_entities_first(tokenizer: Tokenizer) -> None:
    task = Tagging()
    one = sentence("Paris is in France .", "B-PER O O B-LOC O")
    two = sentence("U S is", "B-LOC I-LOC O")
    predicted = [
        scores(task, tokenizer, one, "B-LOC O O B-LOC O"),
        scores(task, tokenizer, two, "O O B-LOC"),
    ]
    sure = predicted[1].entities[0]._replace(score=0.9)
    predicted[1] = predicted[1]._replace(entities=(sure,))
    evaluation = task.evaluate([one, two], predicted, LABELS)
    assert evaluation.figures["precision"] == pytest.approx(100 / 3)
    assert evaluation.figures["recall"] == pytest.approx(100 / 3)
    assert evaluation.score == evaluation.figures["f1"] == pytest.approx(100 / 3)
    assert evaluation.figures["accuracy"] == pytest.approx(50)
    assert evaluation.baseline == 0
    (table,) = evaluation.tables
    assert table.rows == [
        ["LOC", "33.33", "50.00", "40.00", "2"],
        ["PER", "0.00", "0.00", "0.00", "1"],
    ]
    first, *others = evaluation.wrong
    assert first == (two.text, "no entity", "is (LOC)", 0.9)
    assert {(each.text, each.right, each.predicted) for each in others} == {
        (one.text, "Paris (PER)", "Paris (LOC)"),
        (two.text, "U S (LOC)", "no entity"),
    }


def test_classes_are_sorted_by_type_and_whole() -> None:
    examples = [sentence("a b", "B-PER B-LOC"), sentence("a b", "O O")]
    assert Tagging().labels(examples) == LABELS


def test_one_class_only_is_refused() -> None:
    with pytest.raises(UserError, match="all tags of the 1 sentences to train on are O"):
        Tagging().labels([sentence("a b", "O O")])


def test_types_that_differ_are_told_of_or_refused(tokenizer: Tokenizer) -> None:
    task = Tagging()
    mixed = [sentence("a b", "B-LOC I-LOC"), sentence("a b", "B-ORG B-ORG")]
    assert task.check(mixed, LABELS, "dev.conll") == [
        "dev.conll: 2 of 3 entities count as missed, for the training data has none of their "
        "types: ORG",
        "dev.conll has no entity of PER",
    ]
    assert task.check([sentence("a", "O")], LABELS, "dev") == [
        "dev has no entity: its F1 is 0 whatever is found"
    ]
    assert task.check([sentence("a b", "B-PER B-LOC")], LABELS, "dev") == []
    with pytest.raises(UserError, match="dev has entities of ORG and the model knows LOC, PER"):
        task.check(mixed[1:], LABELS, "dev")
    # What is unknown is not learnt from, and is missed.
    (row,), _ = task.training_rows(tokenizer, mixed[1:], LABELS)
    assert sum(row.targets["label_weights"]) == 0
    tagged = [scores(task, tokenizer, each, "B-LOC I-LOC") for each in mixed]
    evaluation = task.evaluate(mixed, tagged, LABELS)
    assert evaluation.figures["recall"] == pytest.approx(100 / 3)
    assert [row[0] for row in evaluation.tables[0].rows] == ["LOC", "ORG", "PER"]


def test_a_model_whose_classes_are_no_tags_is_refused(tokenizer: Tokenizer) -> None:
    example = [sentence("a", "B-LOC")]
    labels = Labels("tokens", ("LABEL_0", "LABEL_1"))
    message = "the model's classes are LABEL_0, LABEL_1: tag 'LABEL_0' is neither O nor"
    with pytest.raises(UserError, match=message):
        Tagging().check(example, labels, "dev")
    with pytest.raises(UserError, match=message):
        Tagging().predict(tokenizer, example, labels, lambda _: [])


def test_what_is_held_out_is_whole_documents_where_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- O\n\na O\n\nb O\n\n-DOCSTART- O\n\nc O\n")
    task = Tagging()
    assert task.groups(task.read(str(path)).examples) == [1, 1, 2]
    path.write_text("-DOCSTART- O\n\na O\n\nb O\n\nc O\n")
    assert list(task.groups(task.read(str(path)).examples)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 2}, "max_length is 2"),
        ({"token_column": "1", "tag_column": "1"}, "token_column and tag_column are both '1'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tagging(**options)


@pytest.mark.shared
def test_perfect_scores_on_wnut_give_an_f1_of_100(shared_data: Path) -> None:
    tokenizer = load_tokenizer(shared_data / "vocab" / "bert-base-uncased")
    folder = shared_data / "tasks" / "wnut17"
    for max_length in (128, 16):
        task = Tagging(max_length=max_length)
        examples = read_sentences(str(folder / "emerging.dev.conll")).examples
        predictions, labels = perfect(task, tokenizer, examples)
        types = "corporation creative-work group location person product".split()
        assert labels.names == ("O", *(f"{mark}-{kind}" for kind in types for mark in "BI"))
        evaluation = task.evaluate(examples, predictions, labels)
        assert set(evaluation.figures.values()) == {100}
        assert sum(int(row[-1]) for row in evaluation.tables[0].rows) == 836
