"""`.npz` files that are written piece by piece, however large they become."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from bert_jax.atomic import replacing


class Arrays:
    """Arrays that grow along their first axis, each in a file of its own."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._types: dict[str, np.dtype] = {}

    def append(self, **arrays: np.ndarray) -> None:
        """Adds rows, of the same shape and type as those before."""
        for name, array in arrays.items():
            length = self._shapes.get(name, (0,))[0]
            self._shapes[name] = (length + len(array), *array.shape[1:])
            self._types[name] = array.dtype
            with (self._folder / name).open("ab") as file:
                file.write(np.ascontiguousarray(array).data)

    def write(self, file: IO[bytes]) -> None:
        """Puts them together to an `.npz`: a zip archive of `.npy` files."""
        with zipfile.ZipFile(file, "w") as archive:
            for name, shape in self._shapes.items():
                with (
                    archive.open(f"{name}.npy", "w", force_zip64=True) as member,
                    (self._folder / name).open("rb") as rows,
                ):
                    descr = npy.dtype_to_descr(self._types[name])
                    header = {"descr": descr, "fortran_order": False, "shape": shape}
                    npy.write_array_header_2_0(member, header)
                    shutil.copyfileobj(rows, member, 1 << 20)


@contextmanager
def array_file(path: Path) -> Iterator[Arrays]:
    """Arrays to fill, which become the file at the end if nothing was raised.

    Until then they lie beside it, so twice its size must be free.
    """
    with (
        replacing(path) as file,
        tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder,
    ):
        arrays = Arrays(Path(folder))
        yield arrays
        arrays.write(file)
