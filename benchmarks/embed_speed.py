"""How fast texts become vectors, here and in sentence-transformers on torch, in paired runs.

python benchmarks/embed_speed.py FOLDER texts.txt

FOLDER is a Hugging Face model, `texts.txt` has a text a line. Each program runs in a process
of its own, in turns; what it takes to start and load is shown apart. Needs the extra `torch`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bert_jax.console import Console


def ours(folder: str) -> Callable[[list[str]], object]:
    """`embed` as a user would call it."""
    import bert_jax

    return bert_jax.load(folder).embed


def sentence_transformers(folder: str, batch_size: int = 32) -> Callable[[list[str]], object]:
    """Mean pooling, as it makes of a folder; 32 rows a batch is its default."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts, batch_size=batch_size, show_progress_bar=False)


PROGRAMS = {"bert_jax": ours, "sentence-transformers": sentence_transformers}


def run_once(program: str, folder: str, file: str) -> None:
    """The work of one process: prints its times in seconds."""
    texts = Path(file).read_text().splitlines()
    start = time.perf_counter()
    embed = PROGRAMS[program](folder)
    embed(texts[:1])
    loaded = time.perf_counter()
    embed(texts)
    first = time.perf_counter()
    embed(texts)
    times = {
        "load": loaded - start,
        "first": first - loaded,
        "again": time.perf_counter() - first,
    }
    print(json.dumps(times))


def main() -> None:
    """Runs both in turns and prints medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", choices=PROGRAMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        run_once(options.once, options.folder, options.texts)
        return
    console = Console()
    found: dict[str, list[dict[str, float]]] = {program: [] for program in PROGRAMS}
    command = [sys.executable, __file__, options.folder, options.texts, "--once"]
    with console.bar("embed", total=options.rounds, unit="round") as bar:
        for _ in range(options.rounds):
            for program, times in found.items():
                printed = subprocess.run(
                    [*command, program], check=True, stdout=subprocess.PIPE, text=True
                ).stdout
                times.append(json.loads(printed.splitlines()[-1]))
            bar.update()
    theirs, here = found["sentence-transformers"], found["bert_jax"]
    rows = []
    for name, what in (
        ("load", "load, and the first text"),
        ("first", "all texts, the first time"),
        ("again", "all texts, compiled"),
    ):
        ratios = [a[name] / b[name] for a, b in zip(theirs, here, strict=True)]
        rows.append(
            [
                what,
                *(f"{statistics.median(t[name] for t in times):.2f} s" for times in (here, theirs)),
                f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        )
    console.grid(["median of " + str(options.rounds), *PROGRAMS, "how much faster"], rows)


if __name__ == "__main__":
    main()
