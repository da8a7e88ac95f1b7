"""Model folders of other programs: recognised by what is in them, read, and written."""

import dataclasses
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import PyTree

from bert_jax.atomic import new_folder
from bert_jax.errors import UserError
from bert_jax.interop import google, huggingface
from bert_jax.interop.naming import (
    PARTS,
    Report,
    Stored,
    flatten,
    is_padded,
    load_params,
    nest,
    parts_in,
)
from bert_jax.interop.parameters import create, shapes_of
from bert_jax.interop.sentence_transformers import sentence_transformers_files
from bert_jax.interop.settings import TASK_FILE, is_bert, read_labels, read_settings
from bert_jax.interop.tokenizer_files import tokenizer_files
from bert_jax.interop.torch_files import read_torch_file
from bert_jax.model.labels import Labels, Task
from bert_jax.model.sizes import BertConfig
from bert_jax.tokenizers import Tokenizer, load_tokenizer

Format = Literal["huggingface", "google"]


class ModelFolder(NamedTuple):
    """What a folder held.

    Attributes:
      config: of the model.
      params: complete; parts that the folder lacks are initialised.
      parts: those of `naming.PARTS` that it has.
      labels: of its classifier, None if it has none.
      tokenizer: None if it has none that can be used.
      tokenizer_problem: then why not.
      report: what became of every tensor.
      extras: files that go with the model, by their paths.
    """

    config: BertConfig
    params: PyTree
    parts: frozenset[str]
    labels: Labels | None
    tokenizer: Tokenizer | None
    tokenizer_problem: str
    report: Report
    extras: dict[str, bytes]


def read_folder(folder: Path, *, allow_pickle: bool) -> ModelFolder:
    """Reads a folder, or a zip archive, of Hugging Face's or Google's.

    Raises:
      UserError: what is there is no BERT, is damaged, or does not belong together.
    """
    with _unpacked(folder) as inside:
        try:
            return _read(inside, allow_pickle=allow_pickle)
        except UserError as error:
            # A temporary place says nothing to whoever named an archive.
            raise UserError(str(error).replace(str(inside), str(folder))) from None


def _read(folder: Path, *, allow_pickle: bool) -> ModelFolder:
    path, raw = _find_config(folder)
    try:
        config = read_settings(raw)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    stored, layout = _find_weights(folder, allow_pickle=allow_pickle)
    tokenizer, problem = _read_tokenizer(folder)
    if tokenizer is not None:
        if not _fits(config.vocab_size, tokenizer.vocab_size):
            raise UserError(
                f"{folder}: the tokenizer has {tokenizer.vocab_size} pieces, the config says "
                f"{config.vocab_size}; take the vocabulary that the model was trained with"
            )
        config = dataclasses.replace(config, vocab_size=tokenizer.vocab_size)

    classifier: tuple[Task, int] | None
    report = Report()
    if layout == "google":
        stored = google.canonical(stored)
        names = google.names_of(config, stored)
        classifier = google.find_classifier(stored)
    else:
        stored = huggingface.canonical(stored)
        stored, tied, superfluous = huggingface.resolve_decoder(stored)
        report.ignored.update(dict.fromkeys(superfluous, "superfluous"))
        config = dataclasses.replace(config, tie_decoder=tied)
        names = huggingface.names_of(config, stored)
        classifier = huggingface.find_classifier(stored, raw)
    try:
        parts = parts_in(stored, names)
        shapes = shapes_of(config, num_classes=classifier[1] if classifier else None)
        there = [name for name in names if name.name in stored]
        _refuse_more_layers(stored, config)
        params = load_params(stored, there, shapes, report)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    report.created = [part for part in PARTS if part not in parts and part != "classifier"]
    for name in sorted(stored.keys() - {name.name for name in there}):
        report.ignored[name] = _reason(name)
    labels = read_labels(raw, *classifier) if classifier else None
    params = create(params, shapes)
    return ModelFolder(
        config=config,
        params=params,
        parts=frozenset(parts),
        labels=labels,
        tokenizer=tokenizer,
        tokenizer_problem=problem,
        report=report,
        extras=sentence_transformers_files(folder) | _task_file(folder),
    )


def _task_file(folder: Path) -> dict[str, bytes]:
    """The options of the task that the model was fine-tuned for, where it says them."""
    path = folder / TASK_FILE
    return {TASK_FILE: path.read_bytes()} if path.is_file() else {}


def _read_tokenizer(folder: Path) -> tuple[Tokenizer | None, str]:
    """The tokenizer, or why there is none: whoever brings ids can do without."""
    if not has_tokenizer(folder):
        return (
            None,
            "the model's folder has no tokenizer; put its vocab.txt or tokenizer.json there",
        )
    try:
        return load_tokenizer(folder), ""
    except UserError as error:
        return None, str(error)


def _refuse_more_layers(stored: Iterable[str], config: BertConfig) -> None:
    """An encoder cut short would give something, but not what it was trained for."""
    for name in stored:
        layer = re.search(r"\bencoder[./]layer[._](\d+)[./]", name)
        if layer and int(layer[1]) >= config.num_layers:
            raise UserError(
                f"the weights have a layer {layer[1]}, the config says {config.num_layers} layers"
                "; these do not belong together"
            )


def _fits(config_size: int, vocab_size: int) -> bool:
    return config_size == vocab_size or is_padded(config_size, vocab_size)


def has_tokenizer(folder: Path) -> bool:
    """Whether there is a vocabulary in a folder."""
    names = ("tokenizer.json", "vocab.txt", "*.model")
    return any(path.is_file() for name in names for path in folder.glob(name))


# How the names of optimizers' variables end: Adam's, LAMB's, those of the mixed precision.
_SLOTS = ("adam_m", "adam_v", "lamb_m", "lamb_v", "/m", "/v", "Adam", "Adam_1", "Momentum")


def _reason(name: str) -> str:
    """Why a tensor is of no use."""
    if name.endswith(_SLOTS) or name.endswith(("global_step", "_power", "loss_scale")):
        return "of an optimizer"
    if name.endswith(("position_ids", "token_type_ids")):
        return "buffers"
    return "unknown"


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The folder itself, or for a zip archive of one, its content in a temporary place."""
    if path.is_dir():
        yield path
        return
    if not path.exists():
        raise UserError(f"there is no {path}; name a model's folder (nothing is downloaded)")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is neither a folder nor a zip archive; name a model's folder")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(temporary)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise UserError(f"{path} cannot be unpacked ({error}); get it again") from None
        configs = [file for file in Path(temporary).rglob("*.json") if is_bert(read_json(file))]
        yield configs[0].parent if configs else Path(temporary)


def read_json(path: Path) -> Any:
    """The content of a JSON file, None if it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _find_config(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The JSON file that describes a model, whatever its name."""
    files = sorted(folder.glob("*.json"))
    found = [(path, raw) for path in files if isinstance(raw := read_json(path), dict)]
    for path, raw in found:
        if is_bert(raw):
            return path, raw
    for _, raw in found:
        if "model_type" in raw:  # another model's, or a BERT's that lacks something
            read_settings(raw)
    if (folder / "config.json").is_file() and not isinstance(
        read_json(folder / "config.json"), dict
    ):
        raise UserError(f"{folder / 'config.json'} is damaged (no JSON object); get it again")
    raise UserError(
        f"{folder} holds no model: no config.json of a run or of Hugging Face, "
        "no bert_config.json of Google"
    )


def _find_weights(folder: Path, *, allow_pickle: bool) -> tuple[dict[str, Stored], Format]:
    """The tensors of a folder: of safetensors, a TensorFlow checkpoint, or pickles."""
    files = _shards(folder, "*.safetensors")
    if files:
        return _merged([huggingface.read_safetensors(file) for file in files]), "huggingface"
    prefixes = [path.with_suffix("") for path in sorted(folder.glob("*.index"))]
    if len(prefixes) > 1:
        raise UserError(
            f"{folder} holds {len(prefixes)} checkpoints ({prefixes[0].name}, …); leave one there"
        )
    if prefixes:
        return google.read_checkpoint(prefixes[0]), "google"
    files = _shards(folder, "*.bin") or _shards(folder, "*.pt")
    if not files:
        raise UserError(
            f"{folder} has a config but no weights (model.safetensors, pytorch_model.bin "
            "or bert_model.ckpt.index); get it again"
        )
    if not allow_pickle:
        raise UserError(
            f"{files[0]} is a pickle, which could run any program; if you trust where it is from, "
            "allow it by --allow-pickle (allow_pickle=True): only weights are then read from it"
        )
    return _merged([_in_memory(read_torch_file(file)) for file in files]), "huggingface"


def _in_memory(tensors: Mapping[str, np.ndarray]) -> dict[str, Stored]:
    return {
        name: Stored(array.shape, partial(np.asarray, array)) for name, array in tensors.items()
    }


def _merged(shards: Iterable[Mapping[str, Stored]]) -> dict[str, Stored]:
    return {name: tensor for shard in shards for name, tensor in shard.items()}


def _shards(folder: Path, pattern: str) -> list[Path]:
    """The files with the weights: those that an index lists, the usual one, or all there are."""
    for index in sorted(folder.glob(f"{pattern}.index.json")):
        listed = (read_json(index) or {}).get("weight_map")
        if not isinstance(listed, dict):
            raise UserError(f"{index} is damaged (no weight_map); get it again")
        files = [folder / Path(name).name for name in sorted(set(map(str, listed.values())))]
        for file in files:
            if not file.is_file():
                raise UserError(f"{index} lists {file.name}, which is not there; get it again")
        return files
    files = sorted(folder.glob(pattern))
    usual = [file for file in files if file.stem in ("model", "pytorch_model")]
    return usual or files


def require_free(folder: Path) -> None:
    """Refuses a place that holds something.

    Raises:
      UserError: it does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; choose another folder or remove it")


def write_folder(
    folder: Path,
    layout: Format,
    *,
    config: BertConfig,
    params: PyTree,
    parts: frozenset[str],
    labels: Labels | None,
    tokenizer: Tokenizer | None,
    extras: Mapping[str, bytes],
) -> None:
    """Writes a model for other programs, whole or not at all; what was never trained is left out.

    Raises:
      UserError: the place is taken, or the format cannot express the model.
    """
    require_free(folder)
    untrained = tuple(prefix for part, prefix in PARTS.items() if part not in parts)
    trained = nest(
        {path: leaf for path, leaf in flatten(params).items() if not path.startswith(untrained)}
    )
    files = tokenizer_files(tokenizer, config) if tokenizer else {}
    if layout == "huggingface":
        files |= extras
    write = google.write_folder if layout == "google" else huggingface.write_folder
    with new_folder(folder) as building:
        write(building, trained, config, labels, tokenizer.pad_id if tokenizer else 0)
        for name, content in files.items():
            (building / name).parent.mkdir(exist_ok=True)
            (building / name).write_bytes(content)
