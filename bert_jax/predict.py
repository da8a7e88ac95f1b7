"""What a fine-tuned model says of texts.

python -m bert_jax.predict --model runs/sst2 "I love Paris"
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from bert_jax import cli
from bert_jax.atomic import replacing
from bert_jax.console import Console
from bert_jax.data.files import file_at, unstripped_lines_of
from bert_jax.data.text_files import json_object
from bert_jax.errors import UserError
from bert_jax.pretrained.prediction import judge
from bert_jax.tasks import kinds
from bert_jax.tasks.report import show
from bert_jax.usage import (
    add_model,
    check_output,
    chunks,
    located,
    open_model,
    standard_input,
)

_AT_ONCE = 1024  # records; of so many, those of like length share batches


def main(arguments: list[str]) -> None:
    """Parses the command line and predicts."""
    parser = cli.Parser(
        "predict",
        "Predicts with a fine-tuned model: labels of texts or pairs, answers to questions, named "
        "entities. Without texts it asks for them, until an empty line.",
        example='python -m bert_jax.predict --model runs/sst2 "I love Paris" "I hate it"\n'
        '  python -m bert_jax.predict --model runs/squad "Who wrote it?" "A paragraph …"\n'
        "  python -m bert_jax.predict --model runs/squad --input questions.jsonl "
        "--output answers.jsonl\n"
        "  python -m bert_jax.predict --model runs/sst2 --labelled dev.tsv",
    )
    add_model(parser)
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="as many for each prediction as the task has"
    )
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="a JSON object a line, with the texts under their names; or, of tasks with a single "
        "text, a text a line; packed too (.gz, .zst); - for standard input",
    )
    parser.add_argument(
        "--labelled",
        metavar="SOURCE",
        help="examples as for data.dev of finetune: their predictions, and how good they are",
    )
    parser.add_argument(
        "--field",
        dest="fields",
        metavar="NAME,NAME",
        help="how the texts are called, such as premise,hypothesis (default: as in training)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.jsonl", help="write JSON lines")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    check_output(options.output, ".jsonl")
    if sum(map(bool, (options.texts, options.input, options.labelled))) > 1:
        raise UserError("give texts, an --input or --labelled examples, one of them")

    console = Console(quiet=options.quiet)
    bert = open_model(options.model, console, allow_pickle=options.allow_pickle)
    fields = options.fields.split(",") if options.fields else None
    num_texts = len(fields) if fields else None
    task = kinds.task_of(bert.labels, bert.task_file, num_texts=num_texts)
    asks = not (options.texts or options.input or options.labelled)
    with ExitStack() as stack:
        file = stack.enter_context(replacing(options.output)) if options.output else None

        def write(predictions: Sequence[dict[str, Any]]) -> None:
            for each in predictions:
                line = json.dumps(each, ensure_ascii=False)
                if file:
                    file.write(f"{line}\n".encode())
                else:
                    console.say(line if options.json else in_words(each))

        if options.labelled:
            predictions, evaluation = judge(bert.network, bert.tokenizer, task, options.labelled)
            if file or options.json:
                write(predictions)
            if not options.json:
                show(console, {options.labelled: evaluation})
        else:
            for chunk in chunks(_records(options, task.fields), 1 if asks else _AT_ONCE):
                with located(chunk):
                    write(bert.predict([each.content for each in chunk], fields=fields))
    if options.output:
        console.say(f"made {options.output}")


class _Input(NamedTuple):
    """Texts, or a record that has them, and where it stands, "" where there is no other."""

    content: Any
    where: str


def _records(options: argparse.Namespace, names: Sequence[str]) -> Iterator[_Input]:
    """What to predict, and where it stands.

    Raises:
      UserError: a line that cannot be read.
    """
    if options.texts:
        if len(options.texts) % len(names):
            raise UserError(
                f"{len(options.texts)} texts; the model takes {len(names)} each time: "
                f"{', '.join(names)}"
            )
        starts = range(0, len(options.texts), len(names))
        for number, start in enumerate(starts, 1):
            where = f"text {number}" if len(starts) > 1 else ""
            yield _Input(tuple(options.texts[start : start + len(names)]), where)
    elif options.input:
        yield from _of_file(options.input, names)
    else:
        yield from _asked(names)


def _of_file(name: str, names: Sequence[str]) -> Iterator[_Input]:
    if name == "-":
        lines = standard_input()
    else:
        lines = unstripped_lines_of(file_at(Path(name)), lambda _: None)
    are_records = len(names) > 1 or ".jsonl" in Path(name).suffixes
    for number, line in enumerate(lines, 1):
        where = f"line {number} of {'standard input' if name == '-' else name}"
        text = line.lstrip("\ufeff").strip()
        # Of records a blank line is none; of texts it is an empty one, so that rows keep numbers.
        if are_records or text.startswith("{"):
            if text:
                yield _Input(json_object(text, where, example=names[0]), where)
        else:
            yield _Input((text,), where)


def _asked(names: Sequence[str]) -> Iterator[_Input]:
    """What is typed at a prompt, or comes by a pipe without one, until an empty line."""
    while True:
        texts = []
        for name in names:
            if sys.stdin.isatty():
                print(f"{name}: ", end="", flush=True)
            text = sys.stdin.readline().strip()
            if not text:
                return
            texts.append(text)
        yield _Input(tuple(texts), "")


def in_words(prediction: dict[str, Any]) -> str:
    """A prediction in a line, or in a line for each entity."""
    if "entities" in prediction:
        found = [
            f"{each['text']}  {each['type']} {each['score']:.1%} "
            f"(characters {each['start']} to {each['end']})"
            for each in prediction["entities"]
        ]
        return "\n".join(found) or "no entity"
    if "answer" in prediction:
        if not prediction["answer"]:
            return f"no answer  {prediction['score']:.1%}"
        return (
            f"{prediction['answer']}  {prediction['score']:.1%} "
            f"(characters {prediction['start']} to {prediction['end']})"
        )
    texts = " / ".join(
        " ".join(value.split())
        for name, value in prediction.items()
        if isinstance(value, str) and name != "label"
    )
    if "value" in prediction:
        return f"{prediction['value']:.3f}  {texts}"
    return f"{prediction['label']}  {prediction['score']:6.1%}  {texts}"


if __name__ == "__main__":
    cli.run(main)
