"""What the program says to XLA: what it may do, where it keeps its results, what it did."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import jax
from jax import monitoring
from jax.experimental.compilation_cache import compilation_cache

# Matrix products go to cuBLASLt and not to XLA's own Triton kernels, which are chosen so late that
# bias, GELU and residual additions stay kernels of their own: on an H100 a base step of 86 ms takes
# 3 to 7 ms more with them, and longer to compile (jax 0.11.2). Other devices do not read it.
GPU_OPTIONS = {"xla_gpu_enable_triton_gemm": False}

# What compiles faster is not worth a file: a step takes seconds, the passes of a small model a few
# tenths, an addition milliseconds.
_LEAST_SECONDS = 0.1

_SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_enable_xla_caches",
)

_DAMAGED = "Error reading persistent compilation cache entry"
_UNWRITTEN = "Error writing persistent compilation cache entry"

# The first is reported of every program, the second just before it of those that were only loaded.
_COMPILED = "/jax/core/compile/backend_compile_duration"
_LOADED = "/jax/compilation_cache/cache_retrieval_time_sec"


def set_flags() -> None:
    """Sets XLA's flags, but for those that the user has set.

    By the environment, because `pmap` takes no compiler options. XLA reads them once, when JAX
    first asks for a device: call it before.
    """
    given = os.environ.get("XLA_FLAGS", "").split()
    names = {flag.partition("=")[0] for flag in given}
    flags = [f"--{name}={value}".lower() for name, value in GPU_OPTIONS.items()]
    ours = [flag for flag in flags if flag.partition("=")[0] not in names]
    os.environ["XLA_FLAGS"] = " ".join(given + ours)


def keep_programs(folder: Path) -> bool:
    """Keeps what is compiled in a folder, and takes from there what was compiled before.

    JAX keys an entry by the program, the versions, the flags and the device; of a CPU by its
    instruction set too (the key is another with `--xla_cpu_max_isa=AVX2`, seen with jax 0.10.2
    and 0.12.0), so that a folder that moves to an older machine is compiled for again. The first
    of several processes writes and all read. What is in the folder is run, so it must be as
    trustworthy as the program: that of a run is read by training only, which writes it.

    Args:
      folder: made as needed; where that is not possible, nothing is kept.

    Returns:
      Whether it will be so: a cache that was chosen before, as by JAX_COMPILATION_CACHE_DIR, stays.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return False
    # XLA's own caches, the last, are of no use beside whole programs, and their path would be a
    # part of the key, on a CPU too: a folder that was moved would be compiled for again.
    _update(dict(zip(_SETTINGS, (str(folder), _LEAST_SECONDS, ""), strict=True)))
    return True


@contextmanager
def kept_programs(folder: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """`keep_programs` for a while, in a folder whose writers may be killed.

    Filters of warnings that are set meanwhile are undone at the end.

    Args:
      folder: see there.
      warn: gets a line about an entry that cannot be read, which is then made again.
    """
    before = {name: getattr(jax.config, name) for name in _SETTINGS}
    if not keep_programs(folder):
        yield
        return
    with warnings.catch_warnings():
        show = warnings.showwarning

        def told(message: Warning | str, *details: object) -> None:
            if not str(message).startswith(_DAMAGED):
                show(message, *details)  # type: ignore[arg-type] # the rest is as it came
                return
            # JAX never writes over an entry, so that a torn one would be torn for ever; a process
            # that was killed leaves such. With it go the whole ones, which are soon made again.
            for entry in folder.glob("*-cache"):
                entry.unlink(missing_ok=True)
            warn(f"{folder} cannot be read; compiling again")

        warnings.showwarning = told  # type: ignore[assignment] # others of its arguments are let through
        warnings.filterwarnings("always", message=_DAMAGED)
        warnings.filterwarnings("ignore", message=_UNWRITTEN)  # a full disk is met by the save too
        try:
            yield
        finally:
            _update(before)


def _update(values: dict[str, object]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # or it would go on with the folder it began with


class Compilations:
    """Counts what this thread compiles while it is entered; loading does not count."""

    def __init__(self) -> None:
        self.count = 0
        self._thread = threading.get_ident()

    def __enter__(self) -> "Compilations":
        monitoring.register_event_duration_secs_listener(self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        monitoring.unregister_event_duration_listener(self._note)

    def _note(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        del duration_secs, kwargs
        if threading.get_ident() == self._thread:
            self.count += (event == _COMPILED) - (event == _LOADED)
