"""Rows of an embedding, block by block, wherever it lives.

An embedding ``(n_images, n_features)`` may be a NumPy array, a torch tensor on the CPU or a GPU, or
larger than memory: a ``numpy.memmap``, a zarr array, or anything else with ``shape``, ``dtype`` and
slices of rows. What is computed from it here reads it once, a block of rows at a time.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import threadpoolctl
from numpy.typing import NDArray
from tqdm import tqdm

from rarefire import files
from rarefire._engine.arguments import check_array, check_finite
from rarefire.errors import InputError

__all__ = [
    "Rows",
    "check_source",
    "cores",
    "is_tensor",
    "loaded",
    "open_embedding",
    "processes",
    "read",
    "spans",
    "spread",
    "spread_over",
    "threads",
]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def open_embedding(path: str | Path, *, array: str | None = None) -> Any:
    """An embedding on disk; a ``.npy`` file or a zarr store is not read into memory.

    Parameters
    ----------
    path
        A file, or a zarr store that holds one array, as :func:`rarefire.files.read` takes it.
    array
        Which one, by its name, where the file holds several.

    Raises
    ------
    DataError
        If there is no such file, or it cannot be read as an array of numbers. Nothing in the file
        is executed.
    InputError
        If it holds several arrays and none is named.
    """
    return files.read(path, array=array).values


def check_source(embedding: Any, *, least: int = 3, stay: bool = False) -> Any:
    """`embedding` as something with ``shape``, ``dtype`` and slices of rows; its shape is checked.

    Parameters
    ----------
    embedding
        As above, or what :func:`numpy.asarray` understands. A torch tensor on the CPU becomes a NumPy
        array that shares its memory.
    least
        Fewest images allowed.
    stay
        Leave a tensor on a GPU where it is, rather than copy it.
    """
    if isinstance(embedding, np.ma.MaskedArray) or hasattr(embedding, "toarray"):
        kind = "masked" if isinstance(embedding, np.ma.MaskedArray) else "sparse"
        raise InputError(f"the embedding is a {kind} array; pass a plain one (.filled(…) or .toarray()).")
    if is_tensor(embedding):
        source = embedding.detach()
        if source.device.type == "cpu" or not stay:
            source = source.cpu()
            source = (source.float() if str(source.dtype) == "torch.bfloat16" else source).numpy()
    elif all(hasattr(embedding, name) for name in ("shape", "dtype", "__getitem__")):
        source = embedding
    else:
        check_array("embedding", embedding)
        source = np.asarray(embedding)
    if len(source.shape) != 2:
        more = " Make features of positions, or average them: E.reshape(len(E), -1), E.mean((2, 3))."
        raise InputError(
            f"an embedding is (n_images, n_features); got {tuple(source.shape)}."
            + more * (len(source.shape) == 4)
        )
    if not is_tensor(source) and np.dtype(source.dtype).kind not in "fiub":
        raise InputError(f"an embedding holds real numbers; got {source.dtype}.")
    if source.shape[0] < least:
        known = {1: "at least one image is needed", 3: "an RDM needs at least three images"}
        needed = known.get(least, f"at least {least} images are needed")
        raise InputError(f"{needed}; got {source.shape[0]}.")
    if source.shape[1] < 1:
        raise InputError(f"an embedding needs at least one feature; got {tuple(source.shape)}.")
    return source


class Rows:
    """Some rows of an embedding, in an order, as an embedding of its own; nothing is copied.

    Parameters
    ----------
    source
        ``(n_images, n_features)``.
    rows
        ``(n,)`` indices.
    """

    def __init__(self, source: Any, rows: NDArray[np.integer]) -> None:
        self.source, self.rows = check_source(source, least=0), np.asarray(rows)
        self.shape, self.dtype = (len(self.rows), self.source.shape[1]), self.source.dtype

    def __getitem__(self, rows: slice) -> Any:
        chosen = np.asarray(self.source[self.rows[rows]])
        _release(self.source)
        return chosen


def read(source: Any, rows: slice) -> Any:
    """One block of rows, in memory (a tensor where the source is one), all finite."""
    block = source[rows]
    if is_tensor(block):
        finite = block.isfinite().all(dim=1)
        block = block.double() if not block.is_floating_point() else block
    else:
        block = np.array(block, copy=True) if _mapped(source) else np.asarray(block)
        _release(source)
        # A sum is not finite exactly where a row holds NaN or infinity, or overflows: look again there.
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(block.sum(axis=1))
        if not finite.all():
            finite = np.isfinite(block).all(axis=1)
    if not bool(finite.all()):
        mask = finite.cpu().numpy() if is_tensor(finite) else finite
        check_finite(mask, first=rows.start or 0, total=source.shape[0])
    return block


def loaded(source: Any) -> NDArray[Any]:
    """`source` as an array of which any rows and columns can be had; read, unless it is one or is mapped."""
    if isinstance(source, np.ndarray):
        return source
    return np.concatenate([np.asarray(read(source, rows)) for rows in spans(source, elements=2**22)])


def spans(source: Any, *, elements: int) -> list[slice]:
    """Cut the rows of `source` into blocks of about `elements` numbers, along its chunks if it has any."""
    n, features = source.shape
    rows = max(16, elements // features)
    chunk = getattr(source, "chunks", None)
    if chunk:
        rows = max(1, round(rows / chunk[0])) * chunk[0]
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]


def spread(
    work: Callable[[Iterable[_Item]], _Result],
    items: Sequence[_Item],
    *,
    progress: bool = False,
    title: str = "",
) -> list[_Result]:
    """Do `work` on the items, in as many threads as the numerical libraries may use now.

    Each thread gets every so many-th item and returns one result; BLAS runs single-threaded inside.
    An interruption stops all threads at their next item.
    """
    workers = min(threads(), len(items)) if len(items) > 1 else 1
    lock, stopped = threading.Lock(), threading.Event()
    with tqdm(total=len(items), desc=title, disable=not progress, leave=False) as bar:

        def own(first: int) -> Iterator[_Item]:
            # Dealt out beforehand: sums are then added in the same order every time.
            for item in items[first::workers]:
                if stopped.is_set():
                    return
                yield item
                with lock:
                    bar.update()

        if workers == 1:
            return [work(own(0))]
        with _libraries().limit(limits=1), ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(work, own(i)) for i in range(workers)]
            try:
                return [future.result() for future in futures]
            except BaseException:
                stopped.set()
                raise


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_CLUSTERS: list[Any] = []  # clients of Dask whose workers are used, the last one


@contextmanager
def spread_over(client: Any) -> Iterator[None]:
    """Within the block, :func:`processes` are the workers of a Dask cluster."""
    _CLUSTERS.append(client)
    try:
        yield
    finally:
        _CLUSTERS.remove(client)


def processes(count: int, *, here: bool = False) -> AbstractContextManager[Any]:
    """Have joblib use so many processes, of one thread each, within the block.

    They end with the process that has them work, also where that was killed: by themselves, those without
    work would notice after minutes. The next block finds the same ones. In :func:`spread_over` the workers
    of a cluster take their place, as many as there are, but for what has to happen `here`.
    """
    import joblib

    if _CLUSTERS and not here:
        return joblib.parallel_config("dask", n_jobs=-1, client=_CLUSTERS[-1])  # type: ignore[no-any-return]
    options = {"inner_max_num_threads": 1, "initializer": _end_with, "initargs": (os.getpid(),)}
    return joblib.parallel_config("loky", n_jobs=count, **options)  # type: ignore[no-any-return]


def _end_with(parent: int) -> None:
    """Have this process end when its parent has."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def threads() -> int:
    """How many threads the BLAS behind NumPy may use: its own limit, or that of threadpoolctl."""
    return max((library["num_threads"] for library in _libraries().info()), default=1)


@lru_cache(maxsize=1)
def _libraries() -> threadpoolctl.ThreadpoolController:
    """BLAS libraries in use; looked for once, which takes milliseconds."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def is_tensor(array: Any) -> bool:
    """Whether `array` is a torch tensor (without importing torch)."""
    return type(array).__module__.split(".")[0] == "torch"


def _mapped(source: Any) -> mmap.mmap | None:
    """The file mapping behind a read-only memmap opened as a whole."""
    if isinstance(source, np.memmap) and source.mode == "r":
        base: Any = source.base
        return base if isinstance(base, mmap.mmap) else None
    return None


def _release(source: Any) -> None:
    """Let the pages of a read-only file go that were read: they would count as ours, all of them."""
    mapping = _mapped(source)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
