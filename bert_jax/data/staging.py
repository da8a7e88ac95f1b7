"""Corpora that lie in object storage: copied to this machine once, and there from here."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from bert_jax.atomic import locked, new_folder
from bert_jax.console import Console
from bert_jax.data.files import explained, local, system_of
from bert_jax.errors import UserError

_MANIFEST = "corpus.json"


def is_remote(path: str) -> bool:
    """Whether it is an address such as gs://bucket/corpus, and no path of this machine."""
    return "://" in path


def exists(corpus: str) -> bool:
    """Whether there is a whole corpus at the address.

    Raises:
      UserError: the address cannot be reached.
    """
    files, root = system_of(corpus)
    with explained(corpus):
        return files.exists(f"{root}/{_MANIFEST}")


def described(corpus: str) -> tuple[dict[str, Any], int]:
    """The manifest of a corpus, and the bytes of its shards.

    Args:
      corpus: path or address of a corpus folder.

    Raises:
      UserError: a file that the manifest names is not there.
    """
    files, root = system_of(corpus)
    files.invalidate_cache()  # others have written since
    manifest = json.loads(files.cat_file(f"{root}/{_MANIFEST}"))
    sizes = {
        path.rpartition("/")[2]: info["size"]
        for path, info in files.find(root, maxdepth=1, detail=True).items()
    }
    names = [name for shard in manifest["shards"] for name in shard["files"]]
    if missing := sorted(set(names).difference(sizes)):
        raise UserError(f"{corpus}/{missing[0]} is missing; remove the folder to prepare it again")
    return manifest, sum(sizes[name] for name in names)


def workplace(corpus: str, staging: Path) -> Path:
    """The folder to prepare a corpus in: itself, or one in `staging` if it has an address."""
    if not is_remote(corpus):
        return local(corpus).absolute()  # "." has no name to grow beside
    return local(staging) / f"prepared-{hashlib.sha256(corpus.encode()).hexdigest()[:16]}"


def staged(corpus: str, staging: Path, console: Console) -> Path:
    """A local folder with the corpus: itself if it is local, else a copy, made once.

    Memory makes as good a place as a disk, if it is large enough: /dev/shm/bert_jax.

    Args:
      corpus: path or address of a corpus folder.
      staging: where copies are kept, each under the checksum of its manifest.
      console: shows progress.

    Raises:
      UserError: there is no corpus at the address.
    """
    if not is_remote(corpus):
        return local(corpus)
    files, root = system_of(corpus)
    if not exists(corpus):
        raise UserError(
            f"{corpus} holds no corpus ({_MANIFEST} is missing); make it there: "
            f"python -m bert_jax.prepare --output {corpus}"
        )
    manifest = files.cat_file(f"{root}/{_MANIFEST}")
    folder = local(staging) / f"corpus-{hashlib.sha256(manifest).hexdigest()[:16]}"
    if not folder.exists():
        # Of several processes on this machine one copies, and the others wait.
        with locked(folder.with_name(folder.name + ".lock"), None):
            if not folder.exists():
                _copy(corpus, folder, console)
    return folder


def _copy(corpus: str, folder: Path, console: Console) -> None:
    """Copies the corpus and its tokenizer, but nothing that was put beside them."""
    files, root = system_of(corpus)
    sizes = {
        path: info["size"]
        for path, info in files.find(root, detail=True).items()
        if "/" not in _relative(path, root) or _relative(path, root).startswith("tokenizer/")
    }
    with (
        explained(corpus),
        new_folder(folder) as building,
        console.bar("copying corpus", total=sum(sizes.values()), unit="B") as bar,
    ):
        (building / "tokenizer").mkdir()
        for path, size in sizes.items():
            files.get_file(path, str(building / _relative(path, root)))
            bar.update(size)


def _relative(path: str, root: str) -> str:
    return path.removeprefix(root).lstrip("/")


def publish(folder: Path, corpus: str, console: Console) -> None:
    """Moves a local corpus folder to an address, the manifest last.

    Raises:
      UserError: there is another corpus.
    """
    files, root = system_of(corpus)
    manifest = (folder / _MANIFEST).read_bytes()
    if files.exists(f"{root}/{_MANIFEST}"):
        if json.loads(files.cat_file(f"{root}/{_MANIFEST}")) != json.loads(manifest):
            raise UserError(f"{corpus} holds another corpus; remove it or choose another --output")
        shutil.rmtree(folder)
        return
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    paths.sort(key=lambda path: path.name == _MANIFEST)
    with (
        explained(corpus),
        console.bar("copying corpus", total=len(paths), unit=" files") as bar,
    ):
        for path in paths:
            put(path, f"{corpus}/{path.relative_to(folder)}")
            bar.update()
    shutil.rmtree(folder)


def remove_unfinished(corpus: str) -> None:
    """Removes the tokenizer and the shards at an address where there is no whole corpus."""
    files, root = system_of(corpus)
    for path in [*files.glob(f"{root}/*.npy"), *files.glob(f"{root}/tokenizer/*")]:
        files.rm_file(path)


def put(path: Path, address: str) -> None:
    """Copies a file to a path or an address; folders are made, what is there is replaced."""
    files, target = system_of(address)
    files.makedirs(target.rpartition("/")[0], exist_ok=True)
    files.put_file(str(path), target)
