"""Labelled texts: how they are read, shown and judged."""

import json
from pathlib import Path

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.model.labels import Labels
from bert_jax.tasks.classification import Classification, LabelGuess, LabelledText
from bert_jax.tasks.task import Row
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime

WORDS = "i love paris hated the movie she cooked pasta it was delicious 좋다 ##는".split()
NLI = ("entailment", "neutral", "contradiction")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")
    return Tokenizer(wordpiece_runtime([*Specials(), *WORDS], rules.bert()))


def examples_of(*labels: str) -> list[LabelledText]:
    return [LabelledText("i love it", None, label, f"line {n}") for n, label in enumerate(labels)]


def test_the_files_of_glue_are_read_as_they_are(tmp_path: Path) -> None:
    """CoLA has no line of names, MRPC's columns have odd ones, QQP has lines that are cut off."""
    (tmp_path / "cola.tsv").write_text('gj04\t1\t\tThe "car honked.\ngj04\t0\t*\tHim went.\n')
    cola = Classification(
        columns="source,label,star,sentence",
        rename="0=unacceptable,1=acceptable",
        metrics="matthews_correlation",
    )
    found = cola.read(str(tmp_path / "cola.tsv"))
    assert [(each.text, each.label) for each in found.examples] == [
        ('The "car honked.', "acceptable"),
        ("Him went.", "unacceptable"),
    ]
    (tmp_path / "mrpc.tsv").write_text(
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tOne.\tAnother.\n"
    )
    mrpc = Classification(text="sentence1|#1 String", pair="sentence2|#2 String", label="x|Quality")
    (example,) = mrpc.read(str(tmp_path / "mrpc.tsv")).examples
    assert (example.text, example.pair, example.label) == ("One.", "Another.", "1")
    (tmp_path / "qqp.tsv").write_text("question1\tquestion2\tlabel\na\tb\t1\na\nc\td\t0\n")
    qqp = Classification(text="question1", pair="question2").read(str(tmp_path / "qqp.tsv"))
    assert len(qqp.examples) == 2
    assert "1 lines are left out; the first: line 3 of" in qqp.remarks[0]


def test_xnli_s_words_and_languages_and_snli_s_missing_labels(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("premise\thypo\tlabel\na\tb\tcontradictory\nc\td\t-\n")
    (tmp_path / "dev.tsv").write_text(
        "language\tgold_label\tsentence1\tsentence2\nzh\tneutral\te\tf\nde\tneutral\tg\th\n"
    )
    task = Classification(
        text="premise|sentence1",
        pair="hypo|sentence2",
        label="label|gold_label",
        only="language=zh",
        rename="contradictory=contradiction",
        drop="-",
    )
    train = task.read(str(tmp_path / "train.tsv"))
    assert [each.label for each in train.examples] == ["contradiction"]
    assert "1 rows are left out for their label (-)" in train.remarks[0]
    assert [each.text for each in task.read(str(tmp_path / "dev.tsv")).examples] == ["e"]


def test_klue_s_arrays_of_objects(tmp_path: Path) -> None:
    items = [{"premise": "가", "hypothesis": "나", "gold_label": "neutral", "n": 1}]
    (tmp_path / "dev.json").write_text(json.dumps(items, ensure_ascii=False))
    task = Classification(text="premise", pair="hypothesis", label="gold_label|label")
    (example,) = task.read(str(tmp_path / "dev.json")).examples
    assert (example.text, example.pair, example.label) == ("가", "나", "neutral")


def test_pairs_are_cut_at_their_ends_and_keep_their_sep(tokenizer: Tokenizer) -> None:
    """The longer text is cut first; the last [SEP] stays (F-Net loses it)."""
    task = Classification(text="a", pair="b", max_length=8)
    long = LabelledText("i love paris the movie it was", "she cooked", "x", "")
    labels = Labels("sentence", ("x", "y"))
    (row,), remarks = task.training_rows(tokenizer, [long], labels)
    shown = [tokenizer.token(token) for token in row.row.ids]
    assert shown == ["[CLS]", "i", "love", "paris", "[SEP]", "she", "cooked", "[SEP]"]
    assert list(row.row.segment_ids) == [0] * 5 + [1] * 3
    assert "1 of 1 examples are cut to 8 tokens" in remarks[0]


def test_labels_are_those_of_the_training_examples_or_as_told() -> None:
    assert Classification().labels(examples_of("b", "a", "b")).names == ("a", "b")
    told = Classification(classes="entailment,neutral,contradiction")
    assert told.labels(examples_of("neutral", "entailment")).names == NLI
    numbers = Classification(metrics="pearson,spearmanr").labels(examples_of("1.5", "0"))
    assert numbers.is_regression
    assert len(numbers.names) == 1


@pytest.mark.parametrize(
    ("task", "labels", "complaint"),
    [
        (Classification(), ("a", "a"), r"all 2 training examples have the label 'a'"),
        (
            Classification(classes="a,b"),
            ("a", "c"),
            "line 1: label 'c' is not one of task.c",
        ),
        (Classification(metrics="pearson"), ("1", "two"), r"line 1: label 'two' is no number"),
        (Classification(metrics="pearson"), ("1", "nan"), r"line 1: label 'nan' is no number"),
    ],
)
def test_labels_that_nothing_can_be_learnt_from(
    task: Classification, labels: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        task.labels(examples_of(*labels))


def test_label_sets_that_differ() -> None:
    task, labels = Classification(), Labels("sentence", ("a", "b", "c"))
    assert task.check(examples_of("a", "b"), labels, "dev") == ["dev has no example of c"]
    with pytest.raises(UserError, match="line 1: label 'd' is not one of the training examples"):
        task.check(examples_of("a", "d"), labels, "dev")


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("sentence\tlabel\nfine\t1\nbad\t\n")
    with pytest.raises(UserError, match=r"line 3 of .*a.tsv has no label"):
        Classification().read(str(path))
    path.write_text("sentence\tlabel\n\t1\nfine\t0\n")
    (remark,) = Classification().read(str(path)).remarks
    assert "1 of 2 examples of" in remark
    assert "have an empty text" in remark
    with pytest.raises(UserError, match=r"no columns 'text'.*'sentence', 'label'"):
        Classification(text="text").read(str(path))
    with pytest.raises(UserError, match="no example with sentence=other"):
        Classification(only="sentence=other").read(str(path))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"metrics": "acuracy"}, "metrics is 'acuracy'; choose from accuracy"),
        ({"metrics": ""}, "choose from"),
        ({"metrics": "accuracy,pearson"}, "some are of classes, some of numbers"),
        ({"max_length": 3}, "max_length is 3"),
        ({"rename": "a"}, "rename is 'a'; write OLD=NEW"),
        ({"only": "language"}, "only is 'language'; write OLD=NEW"),
    ],
)
def test_options_that_cannot_be(options: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Classification(**options)


def test_predictions_are_probabilities_and_are_judged(tokenizer: Tokenizer) -> None:
    task, labels = Classification(metrics="accuracy,f1"), Labels("sentence", ("no", "yes"))
    examples = [
        LabelledText(text, None, label, "")
        for text, label in (("i love", "yes"), ("hated", "no"), ("it was", "yes"), ("she", "no"))
    ]

    def scores_of(rows: list[Row]) -> list[np.ndarray]:
        return [np.array([0.0, 3.0 if len(row.ids) == 4 else -1.0]) for row in rows]

    found = task.predict(tokenizer, examples, labels, scores_of)
    assert [each.label for each in found] == ["yes", "no", "yes", "no"]
    assert found[0].probabilities.sum() == pytest.approx(1)
    assert found[0].probabilities[1] == pytest.approx(1 / (1 + np.exp(-3)))
    evaluation = task.evaluate(examples, found, labels)
    assert evaluation.figures == {"accuracy": 1.0, "f1": 1.0}
    assert evaluation.baseline == pytest.approx((0.5 + 2 / 3) / 2)  # all "yes"
    assert not evaluation.wrong
    swapped = [
        LabelGuess("no", np.array([0.9, 0.1])),
        LabelGuess("yes", np.array([0.2, 0.8])),
        *found[2:],
    ]
    evaluation = task.evaluate(examples, swapped, labels)
    assert evaluation.tables[0].rows == [["no", "1", "1"], ["yes", "1", "1"]]
    assert [(each.right, each.predicted) for each in evaluation.wrong] == [
        ("yes", "no"),
        ("no", "yes"),
    ]
    assert json.loads(json.dumps(task.record(examples[0], found[0]))) == {
        "sentence": "i love",
        "label": "yes",
        "score": pytest.approx(0.952574),
    }


def test_numbers_are_judged_by_their_order(tokenizer: Tokenizer) -> None:
    task = Classification(metrics="pearson,spearmanr")
    examples = examples_of("1", "2", "4")
    labels = task.labels(examples)

    def scores_of(rows: list[Row]) -> list[np.ndarray]:
        return [np.array([value]) for value in (0.5, 1.0, 9.0)[: len(rows)]]

    found = task.predict(tokenizer, examples, labels, scores_of)
    evaluation = task.evaluate(examples, found, labels)
    assert evaluation.figures["spearmanr"] == pytest.approx(1)
    assert evaluation.figures["pearson"] == pytest.approx(np.corrcoef([1, 2, 4], [0.5, 1, 9])[0, 1])
    assert evaluation.wrong[0].right == "4"
    assert task.record(examples[2], found[2])["value"] == 9


def test_a_record_has_its_texts() -> None:
    assert Classification(text="a|b", pair="c|d").fields == ("a", "c")
    task = Classification(text="premise", pair="hypothesis")
    assert task.example({"premise": " a ", "hypothesis": "b"}).text == "a"
    with pytest.raises(UserError, match="no field 'hypothesis', only 'premise'"):
        task.example({"premise": "a"})
    with pytest.raises(UserError, match="field 'premise' is no text"):
        task.example({"premise": 3, "hypothesis": "b"})


@pytest.mark.shared
def test_the_data_sets_at_hand(shared_data: Path) -> None:
    tasks = shared_data / "tasks"
    sizes = {
        "SST-2/train.tsv": (Classification(), 67_349),
        "SST-2/dev.tsv": (Classification(), 872),
        "RTE/train.tsv": (Classification(text="sentence1", pair="sentence2"), 2_490),
        "RTE/dev.tsv": (Classification(text="sentence1", pair="sentence2"), 277),
        "mnli/part.csv": (Classification(text="premise", pair="hypothesis"), 9_823),
        "nsmc/train.tsv": (Classification(text="document"), 50_000),
        "klue-nli/klue-nli-v1.1_dev.json": (
            Classification(text="premise", pair="hypothesis", label="gold_label"),
            3_000,
        ),
    }
    for name, (task, size) in sizes.items():
        examples = task.read(str(tasks / name)).examples
        assert len(examples) == size, name
        assert len(task.labels(examples).names) in (2, 3), name
