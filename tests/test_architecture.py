"""The house rules that a linter cannot see: floors, sizes, what may be imported where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bert_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

# A file imports only from lower floors; within a floor only from its own folder, or from
# what is listed before it here.
FLOORS: list[list[str]] = [
    # 0: no devices, no disk of ours, no model
    [
        "errors",
        "atomic",
        "array_files",
        "console",
        "tokenizers",
        "model.sizes",
        "model.labels",
        "data.keyed_random",
        "data.boundaries",
        "data.chunking",
        "data.packing",
        "data.selection",
        "data.masking",
        "data.pairs",
        "data.sentences",
        "training.losses",
        "training.rng",
        "training.schedule",
        "training.phases",
        "training.spikes",
        "training.best",
        "training.throughput",
        "tasks.scores",
    ],
    # 1: the model
    ["model"],
    # 2: pure training
    ["training.optimizer", "training.objectives", "training.steps", "training.memory"],
    # 3: effects
    [
        "data",
        "interop",
        "tasks",
        "training.stopping",
        "training.compilation",
        "training.watchdog",
        "training.parallel",
        "training.rendezvous",
        "training.processes",
        "training.checkpoint",
        "training.profiling",
        "training.wandb_run",
        "training.metrics",
        "training.curves",
        "training.run_folder",
        "training.loop",
        "pretrained",
        "training.evaluation",
        "training.examples",
        "training",
        "speed",
    ],
    # 4: commands
    [
        "cli",
        "config",
        "recipe",
        "usage",
        "session",
        "prepare",
        "train",
        "check",
        "train_tokenizer",
        "evaluate",
        "fill_mask",
        "next_sentence",
        "pseudo_likelihood",
        "embed",
        "linear_probe",
        "attentions",
        "convert",
        "parity",
        "score",
        "predict",
        "task_recipe",
        "task_runs",
        "finetune",
        "speed.input_rate",
        "benchmark",
    ],
]


def module_of(path: Path) -> str:
    return (
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        .removesuffix("__init__")
        .rstrip(".")
    )


def place_of(module: str) -> tuple[int, int]:
    """Floor and place on it, by the longest listed name that the module lies under."""
    places = [
        (len(name), floor, place)
        for floor, names in enumerate(FLOORS)
        for place, name in enumerate(names)
        if module == name or module.startswith(name + ".")
    ]
    assert places, f"bert_jax.{module} is on no floor; add it to FLOORS"
    return max(places)[1:]


def imports_of(path: Path) -> list[str]:
    """Modules of this package that a file imports, without the package's name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bert_jax"):
            base = node.module.removeprefix("bert_jax").removeprefix(".")
            if base:
                found.append(base)
            else:
                found += [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [
                alias.name.removeprefix("bert_jax.")
                for alias in node.names
                if alias.name.startswith("bert_jax.")
            ]
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down(path: Path) -> None:
    module = module_of(path)
    if not module:  # the package itself offers `load` on demand
        return
    for imported in imports_of(path):
        same_folder = imported.partition(".")[0] == module.partition(".")[0]
        above, below = place_of(module), place_of(imported)
        allowed = above >= below or (same_folder and above[0] == below[0])
        assert allowed, f"bert_jax.{module} imports bert_jax.{imported}, which is above it"


@pytest.mark.parametrize("path", sorted(ROOT.glob("[bct]*/**/*.py")), ids=str)
def test_no_file_is_over_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in ("utils", "util", "common", "helpers", "misc")


@pytest.mark.parametrize(
    "module",
    [
        "bert_jax",
        "bert_jax.data.sources",
        "bert_jax.pretrained",
        "bert_jax.fill_mask",
        "bert_jax.benchmark",
    ],
)
def test_starts_without_tensorflow(module: str) -> None:
    program = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_importing_the_package_does_not_import_jax() -> None:
    program = "import sys, bert_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
