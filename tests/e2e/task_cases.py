"""A model with nothing learnt, and sentences whose labels it can learn in seconds."""

import json
from pathlib import Path

import jax
import numpy as np

from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime
from bert_jax.training.steps import init_params

SUBJECTS = "i we you they sam anna".split()
VERBS = {"love": 1, "loved": 1, "like": 1, "enjoyed": 1, "hate": 0, "hated": 0, "dislike": 0}
THINGS = ("paris", "it", "this", "the movie", "the food", "the book")
MORE = "who what does ? . , in of is ##s ##d seoul london and 파리 ##는 ##를 좋다".split()
EXAMPLES = [
    {"sentence": f"{subject} {verb} {thing}", "label": ("bad", "good")[label]}
    for subject in SUBJECTS
    for thing in THINGS
    for verb, label in VERBS.items()
]


def make_model(folder: Path, **config: int) -> Path:
    """A model with the words of this file, in a folder."""
    words = list(dict.fromkeys([*Specials(), *SUBJECTS, *VERBS, *" ".join(THINGS).split(), *MORE]))
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")
    sizes = {"num_layers": 2, "num_heads": 2, "width": 32, "max_positions": 64} | config
    model = BertForPreTraining(BertConfig(vocab_size=len(words), **sizes))  # type: ignore[arg-type]
    tokenizer = Tokenizer(wordpiece_runtime(words, rules.bert()))
    params = jax.tree.map(np.asarray, init_params(model, jax.random.key(0)))
    Pretrained(model, params, tokenizer).save(folder)
    return folder


def make_tables(folder: Path) -> Path:
    """`train.jsonl` and `dev.tsv`, of other sentences."""
    held_out = EXAMPLES[::5]
    train = [item for item in EXAMPLES if item not in held_out]
    (folder / "train.jsonl").write_text("".join(json.dumps(item) + "\n" for item in train))
    lines = [f"{item['sentence']}\t{item['label']}" for item in held_out]
    (folder / "dev.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]))
    return folder


def finetune_command(folder: Path, workdir: Path, *more: str) -> list[str]:
    """Arguments of `finetune` for the sentences of `make_tables`; fine in ten epochs."""
    return [
        "--config=configs/finetune/base.py",
        f"--config.init={folder / 'model'}",
        f"--config.data.train={folder / 'train.jsonl'}",
        f"--config.data.dev={folder / 'dev.tsv'}",
        "--config.epochs=6",
        "--config.batch_size=16",
        "--config.task.max_length=64",
        "--config.log_every_steps=5",
        "--config.checkpoint_every_steps=7",
        "--config.schedule.peak_learning_rate=3e-3",
        f"--workdir={workdir}",
        "--quiet",
        *more,
    ]


NAMES = ("anna", "sam")
# So that few epochs, which end in an evaluation each, are many steps.
_REPEATED = 4
PLACES = ("paris", "seoul", "london")


def make_inference(folder: Path) -> list[str]:
    """Pairs: the same said again is true, the opposite is false, of another it says nothing."""
    rows = []
    for subject in SUBJECTS:
        for thing in THINGS:
            premise = f"{subject} love {thing}"
            rows += [
                (premise, premise, "true"),
                (premise, f"{subject} hate {thing}", "false"),
                (premise, f"{subject} like {thing} and it", "neutral"),
            ]
    lines = ["premise,hypothesis,label", *(",".join(row) for row in _REPEATED * rows)]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return [
        f"--config.data.train={folder / 'pairs.csv'}",
        "--config.data.dev=",
        "--config.task.text=premise",
        "--config.task.pair=hypothesis",
        "--config.epochs=6",
    ]


def make_questions(folder: Path) -> list[str]:
    """Paragraphs of a sentence, asked what; in Korean the particle is left off."""
    articles = []
    for name in NAMES:
        for verb in VERBS:
            articles += [(f"{name} {verb} {place} .", place) for place in PLACES]
        articles += 3 * [(f"파리는 {name} 좋다 .", "파리")]
    data = []
    for number, (context, text) in enumerate(_REPEATED * articles):
        answers = [{"text": text, "answer_start": context.index(text)}]
        qas = [{"id": str(number), "question": "what ?", "answers": answers}]
        paragraphs = [{"context": context, "qas": qas}]
        data.append({"title": str(number), "paragraphs": paragraphs})
    content = {"version": "1.1", "data": data}
    (folder / "questions.json").write_text(json.dumps(content, ensure_ascii=False))
    return [
        "--config=configs/finetune/squad.py",
        f"--config.data.train={folder / 'questions.json'}",
        "--config.data.dev=",
        "--config.task.max_length=32",
        "--config.task.max_question_length=8",
        "--config.epochs=6",
    ]


def make_tags(folder: Path) -> list[str]:
    """Sentences with persons and places, one word a line, in IOB1 as CoNLL-2003's."""
    lines = []
    for name in NAMES:
        for verb in VERBS:
            for place in PLACES:
                lines += [f"{name} I-PER", f"{verb} O", f"{place} I-LOC", ". O", ""]
    (folder / "tags.txt").write_text("\n".join(lines))
    return [
        "--config=configs/finetune/conll2003.py",
        f"--config.data.train={folder / 'tags.txt'}",
        f"--config.data.dev={folder / 'tags.txt'}",
        "--config.epochs=8",
    ]
