"""Files and folders that are there whole or not at all, whenever the program is killed."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bert_jax.errors import UserError


def write_file(path: Path, content: str | bytes) -> None:
    """Writes beside the path, flushes to the disk, renames.

    Args:
      path: replaced if it exists.
      content: text is written as UTF-8.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write beside the path, which it becomes at the end if nothing was raised."""
    writing = path.with_name(path.name + ".new")
    try:
        with writing.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        writing.unlink(missing_ok=True)
        raise
    writing.replace(path)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill beside `folder`, which it becomes at the end if nothing was raised."""
    building = folder.with_name(folder.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        yield building
    except Exception:
        shutil.rmtree(building, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)


@contextmanager
def locked(folder: Path, advice: str | None) -> Iterator[Path]:
    """Makes a folder, and keeps other processes out of it meanwhile.

    Args:
      folder: made if it is not there; a file `lock` stays in it.
      advice: what to do if another process is in it, such as "wait for it"; None to wait.

    Yields:
      The file `lock`.

    Raises:
      UserError: another process is in it, and there is advice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A file, because the locks of network file systems want one that is open for writing.
    path = folder / "lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if advice else 0))
        except BlockingIOError:
            raise UserError(f"{folder} is in use by another process; {advice}") from None
        yield path
