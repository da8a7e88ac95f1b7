"""Text of TensorFlow Datasets: found, prepared if need be, and read in parts.

This is the only file that imports `tensorflow_datasets`.
"""

import difflib
import logging
import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from bert_jax.data.documents import Document, OnBytes, document_of
from bert_jax.data.tensorflow_setup import hide_accelerators
from bert_jax.errors import UserError

_SPEC = re.compile(
    r"(?P<name>(?:huggingface:)?(?:.*/)?[^:/]*(?::\d+\.\d+\.\d+)?)(?::(?P<split>[^/]*))?"
)

_NO_NETWORK = "there is no network"


@dataclass(frozen=True)
class TfdsPart:
    """A run of examples of a prepared data set: each is a document.

    The lines of one of its fields are the paragraphs, as in `JsonLines`.

    Attributes:
      folder: where the data set lies.
      split: a whole split's name.
      start: first example.
      stop: one past the last.
      field: that holds the text.
      num_bytes: their share of the split's size.
    """

    folder: str
    split: str
    start: int
    stop: int
    field: str
    num_bytes: int

    @property
    def version(self) -> str:
        """The data set with its version, and which of its examples."""
        return f"{self.folder} {self.split} {self.start} {self.stop} {self.field}"

    def documents(self, on_bytes: OnBytes = lambda _: None) -> Iterator[Document]:
        """One document at a time, in the order on disk."""
        count = self.stop - self.start
        try:
            for number, text in enumerate(self._texts(), start=1):
                document = document_of(text.decode("utf-8"))
                if document:
                    yield document
                on_bytes(self.num_bytes * number // count - self.num_bytes * (number - 1) // count)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.folder}: field {self.field!r} is not UTF-8 in example "
                f"{self.start + number - 1} of split {self.split!r}; choose another: tfds#FIELD:..."
            ) from error
        except Exception as error:  # TensorFlow's, of many classes
            raise UserError(
                f"{self.folder} cannot be read: {_brief(error)}; prepare the data set again"
            ) from error

    def _texts(self) -> Iterator[bytes]:
        hide_accelerators()
        with _quiet():
            dataset = tfds.builder_from_directory(self.folder).as_dataset(
                split=tfds.core.ReadInstruction(self.split, from_=self.start, to=self.stop),
                decoders=tfds.decode.PartialDecoding({self.field: True}),
                # One file after the other, and never kept in memory.
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                shuffle_files=False,
            )
        for example in dataset.as_numpy_iterator():
            yield example[self.field]


def tfds_parts(spec: str, field: str) -> tuple[TfdsPart, ...]:
    """The examples of a split, a part for each of its files.

    Args:
      spec: NAME[/CONFIG][/VERSION][:SPLIT]: a data set that TFDS knows, or
        `huggingface:NAME/CONFIG`, or the folder of one that is prepared, which
        begins with `/`, `~` or `.` or is an address such as `gs://...`. SPLIT is
        `train` unless given, and may be a slice or a sum, `train[:10%]+test`.
      field: that holds the text; if empty `text`, or else the only one of strings.

    Raises:
      UserError: there is no such data set, split or field, or the data set is
        not prepared and cannot be.
    """
    name, split = split_spec(spec)
    with _quiet():
        builder = _builder(name)
        field = _text_field(builder, field, name)
        runs = _runs(builder, name, split)
    parts = []
    for run in runs:
        info = builder.info.splits[run.splitname]
        start, stop = run.from_ or 0, info.num_examples if run.to is None else run.to
        files = np.cumsum([0, *info.shard_lengths]).clip(start, max(start, stop)).tolist()
        parts += [
            TfdsPart(
                folder=str(builder.data_dir),
                split=run.splitname,
                start=first,
                stop=last,
                field=field,
                num_bytes=info.num_bytes * last // info.num_examples
                - info.num_bytes * first // info.num_examples,
            )
            for first, last in pairwise(files)
            if first < last
        ]
    if not parts:
        raise UserError(f"split {split!r} of TFDS data set {name!r} holds no example")
    return tuple(parts)


def tfds_examples(spec: str) -> Iterator[dict[str, Any]]:
    """The examples of a split, in their order on disk, as plain Python.

    Texts are decoded, classes have their names (None for −1, a label that is kept secret), a
    sequence of examples is a dictionary of lists.

    Args:
      spec: as of `tfds_parts`.

    Raises:
      UserError: there is no such data set or split, or it is not prepared and cannot be.
    """
    name, split = split_spec(spec)
    hide_accelerators()
    with _quiet():
        builder = _builder(name)
        _runs(builder, name, split)
        dataset = builder.as_dataset(
            split=split,
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            shuffle_files=False,
        )
    try:
        for example in dataset.as_numpy_iterator():
            yield _plain(example, builder.info.features)
    except UnicodeDecodeError as error:
        raise UserError(f"tfds:{spec} has a text that is not UTF-8 ({error.reason})") from error


def _plain(value: Any, feature: Any) -> Any:
    """A value of a data set as plain Python."""
    if isinstance(value, dict):
        inner = getattr(feature, "feature", feature)  # of a sequence
        return {key: _plain(value[key], inner[key]) for key in value}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.ndim:
        return [_plain(each, getattr(feature, "feature", feature)) for each in value]
    number = value.item() if hasattr(value, "item") else value
    if isinstance(feature, tfds.features.ClassLabel):
        return None if number < 0 else feature.int2str(number)
    return number


def split_spec(spec: str) -> tuple[str, str]:
    """The name of a data set and that of its split, which follows the last slash's first colon.

    A version may stand behind a colon too, as TFDS writes it.

    Raises:
      UserError: there is no name.
    """
    matched = _SPEC.fullmatch(spec)
    if not matched or not matched["name"]:
        raise UserError(f"{spec!r} names no TFDS data set; use tfds:NAME/CONFIG:SPLIT")
    return matched["name"], matched["split"] or "train"


def _builder(name: str) -> Any:
    """Of a data set that is prepared."""
    is_folder = name.startswith(("/", "~", ".")) or "://" in name
    return _at_folder(name) if is_folder else _registered(name)


def _runs(builder: Any, name: str, split: str) -> Any:
    """Which examples of which splits are meant."""
    try:
        return tfds.core.ReadInstruction.from_spec(split).to_absolute(builder.info.splits)
    except Exception as error:  # ValueError and others, by what is wrong
        raise UserError(
            f"TFDS data set {name!r} has no split {split!r}; it has "
            f"{', '.join(builder.info.splits)}, slices such as train[:10%], and sums "
            f"({str(error).splitlines()[0]})"
        ) from None


def _at_folder(name: str) -> Any:
    """The builder of a prepared data set: in this folder, or the only one below it."""
    try:
        folder = tfds.core.Path(name).expanduser()
        for levels in ("", "*/", "*/*/"):  # of a version, of its configuration, of a name
            found = sorted(folder.glob(f"{levels}dataset_info.json"))
            if len(found) == 1:
                return tfds.builder_from_directory(found[0].parent)
            if found:
                names = ", ".join(str(each.parent.relative_to(folder)) for each in found)
                raise UserError(f"{name} holds several data sets; name one of them: {names}")
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the TFDS data set in {name} cannot be read: {_brief(error)}") from error
    raise UserError(f"{name} holds no prepared TFDS data set (dataset_info.json is missing)")


def _registered(name: str) -> Any:
    """The builder of a data set that TFDS knows, once it is prepared."""
    name = re.sub(r"/(\d+\.\d+\.\d+)$", r":\1", name)
    is_remote = name.startswith("huggingface:")  # TFDS asks there before it looks here
    if is_remote and _is_offline():
        raise _missing(name, _NO_NETWORK)
    try:
        builder = tfds.builder(name)
    except Exception as error:
        if is_remote:
            raise _missing(name, _brief(error)) from error
        raise UserError(f"{_absence(name)}{_nearest(name) or f': {_brief(error)}'}") from error
    if not builder.data_path.exists():
        is_offline = _is_offline()
        try:
            with _impatient() if is_offline else nullcontext():
                builder.download_and_prepare()
        except Exception as error:
            raise _missing(name, _NO_NETWORK if is_offline else _brief(error)) from error
    return builder


def _missing(name: str, reason: str) -> UserError:
    return UserError(
        f"{_absence(name)} and cannot be prepared: {reason}; prepare it where there is network, by "
        f"tfds.builder({name!r}).download_and_prepare(), and copy it there, or name files "
        "instead"
    )


def _absence(name: str) -> str:
    folder = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return f"TFDS data set {name!r} is not in {folder} (TFDS_DATA_DIR)"


def _nearest(name: str) -> str:
    """What may be meant, if it is the name or the configuration that TFDS does not know."""
    family, _, config = name.partition(":")[0].partition("/")
    families = tfds.list_builders(with_community_datasets=False)
    if family not in families:
        near = difflib.get_close_matches(family, families)
    else:
        configs = tfds.builder_cls(family).builder_configs
        if not config or config in configs:
            return ""
        near = [f"{family}/{each}" for each in difflib.get_close_matches(config, configs)]
    return f", nor known; did you mean {' or '.join(near)}?" if near else ", nor known"


def _text_field(builder: Any, field: str, name: str) -> str:
    """The field asked for, or `text`, or the only one of strings."""
    features = builder.info.features
    fields = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    strings = sorted(  # TFDS keeps no order
        key for key, each in fields.items() if each.shape == () and each.np_dtype == np.object_
    )
    chosen = field or (strings[0] if len(strings) == 1 else "text")
    if chosen not in strings:
        raise UserError(
            f"TFDS data set {name!r} has no field {chosen!r} of strings; choose another, as in "
            f"tfds#FIELD:{name}, of: {', '.join(strings) or 'none'}"
        )
    return chosen


def _is_offline() -> bool:
    """Whether no server can be found; where there is a proxy, only that can tell."""
    if urllib.request.getproxies():
        return False
    try:
        socket.getaddrinfo("storage.googleapis.com", 443)  # where TFDS keeps what is prepared
    except OSError:
        return True
    return False


@contextmanager
def _impatient() -> Iterator[None]:
    """Lets TFDS ask once: it asks ten times, which takes 204 seconds without network."""
    from tensorflow_datasets.core.download import downloader

    before = downloader.MAX_RETRIES
    downloader.MAX_RETRIES = 0
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the logs of TFDS and of all that it calls; what matters is raised as well."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
