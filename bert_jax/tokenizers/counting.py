"""Counting the words of any amount of text, on all cores."""

import os
import threading
from collections import Counter
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bert_jax.tokenizers.chunks import Chunks, concatenated
from bert_jax.tokenizers.runtime import Cut

_BLOCK_CHARACTERS = 1 << 22  # text scanned at a time, by one worker


def count_chunks(texts: Iterable[str], cut: Cut, *, workers: int | None = None) -> dict[str, int]:
    """How often each chunk of texts occurs, sorted.

    Memory grows with the number of distinct chunks, not with the texts.

    Args:
      texts: cut one by one, such as lines.
      cut: where.
      workers: threads that scan, all cores if None. The result is the same.
    """
    blocks = _blocks(texts)
    reading = threading.Lock()

    def count() -> dict[str, int]:
        chunks = Chunks(cut)
        counts = np.zeros(0, np.int64)
        while True:
            with reading:
                block = next(blocks, None)
            if block is None:
                return dict(zip(chunks.texts(), counts.tolist(), strict=True))
            numbers, _ = chunks.number(*concatenated(block))
            new = np.bincount(numbers, minlength=len(chunks))
            new[: len(counts)] += counts
            counts = new

    workers = workers or os.cpu_count() or 1
    total: Counter[str] = Counter()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for counted in [pool.submit(count) for _ in range(workers)]:
                total.update(counted.result())
        except BaseException:
            with reading:
                blocks.close()  # so that no worker reads on
            raise
    return dict(sorted(total.items()))


def _blocks(texts: Iterable[str]) -> Generator[list[str]]:
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block
