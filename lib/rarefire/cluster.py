"""Geometry curves over a Dask cluster: the sums of :mod:`rarefire._engine.grams`, added up over its workers.

Optional (``pip install 'rarefire[scale]'``). The embedding stays where it is: a file or zarr store
that the workers can reach, or a Dask array. What travels is the sums, whose size does not depend on
the number of images. Blocks that were on a lost worker are computed again by Dask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from rarefire._engine import blocks, grams
from rarefire._engine.arguments import checked
from rarefire._engine.grams import LEAST, Grams, correlation
from rarefire.curves import Curve, check_order, check_steps
from rarefire.errors import DataError, InputError
from rarefire.rdm import Metric

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["geometry_curve"]

_FAN_IN = 8  # sums that are added in one task
_ANSWER = 60.0  # seconds that a scheduler may take to answer, on a busy machine


@checked
def geometry_curve(
    embedding: Any,
    order: ArrayLike,
    *,
    scheduler: Client | str | None = None,
    metric: Metric = "correlation",
    k: Sequence[int] | None = None,
    precision: Literal["double", "single"] = "double",
    rows: int | None = None,
    progress: bool = False,
) -> Curve:
    """The curve of :func:`rarefire.curves.geometry_curve`, computed by a cluster.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``: the path of a ``.npy`` file or zarr store that every worker can
        read; a Dask array; or an array of this process, which is then sent to the workers.
    order, metric, k, precision, progress
        As there.
    scheduler
        A ``distributed.Client``, the address of a scheduler (``"tcp://host:8786"``), or None for a
        cluster of processes on this machine, one for each core, which is closed at the end.
    rows
        Images in one task; by default about four tasks for each thread of the cluster.

    Returns
    -------
    Curve
        Equal to the one computed in memory, but for the order in which numbers are added.

    Raises
    ------
    DataError
        If Dask is not installed, the scheduler does not answer, or workers keep dying.
    InputError
        As there.
    """
    try:
        from dask.delayed import delayed
        from distributed import Future, KilledWorker, as_completed
    except ImportError as error:
        raise DataError("a cluster needs Dask: pip install 'rarefire[scale]'.") from error

    with _client(scheduler) as client:
        workers = max(1, sum(client.nthreads().values()))
        source, parts = _parts(embedding, rows, 4 * workers)
        n_features = source.shape[1]
        indices, steps = check_order(order, n_features), check_steps(k, n_features)
        r, left = np.full(len(steps), np.nan), np.zeros(len(steps), dtype=np.intp)
        for group in grams.groups(steps, n_features):
            empty = Grams(steps[group], metric, precision=precision)
            tasks = [delayed(_sums)(part, indices, empty) for part in parts]
            futures: list[Future[Grams]] = client.compute(tasks)
            try:
                done = as_completed(futures)
                for future in tqdm(done, total=len(futures), desc="blocks of images", disable=not progress):
                    future.result()  # raises here what went wrong there
                while len(futures) > 1:
                    some = [futures[i : i + _FAN_IN] for i in range(0, len(futures), _FAN_IN)]
                    futures = [client.submit(_total, few, empty, pure=False) for few in some]
                total = futures[0].result()
            except KilledWorker as error:
                raise DataError(
                    f"workers died again and again, perhaps for want of memory: {error}"
                ) from error
            finally:
                client.cancel(futures)
            r[group] = correlation(total.sums(), least=LEAST[precision])
            left[group] = total.images
    return Curve(steps, r, left, n_features)


def _sums(part: Any, order: NDArray[np.intp], empty: Grams) -> Grams:
    """The sums over one part, on a worker."""
    own = Grams(empty.steps, empty.metric, precision=empty.precision)
    source = part.open() if isinstance(part, _Rows) else part
    inside = part.rows if isinstance(part, _Rows) else slice(0, len(part))
    for span in blocks.spans(source, elements=grams.BLOCK):
        rows = slice(max(span.start, inside.start), min(span.stop, inside.stop))
        if rows.start < rows.stop:
            own.update(blocks.read(source, rows)[:, order])
    return own


def _total(some: list[Grams], empty: Grams) -> Grams:
    """Add sums, leaving those given as they are: a task may be run again."""
    total = Grams(empty.steps, empty.metric, precision=empty.precision)
    for one in some:
        total.add(one)
    return total


class _Rows:
    """Rows of a file, opened where they are needed."""

    def __init__(self, path: str, rows: slice) -> None:
        self.path, self.rows = path, rows

    def open(self) -> Any:
        """The file, on a worker."""
        return blocks.open_embedding(self.path)


def _parts(embedding: Any, rows: int | None, count: int) -> tuple[Any, list[Any]]:
    """What the embedding is, and its parts: rows of a file, or blocks of a Dask array."""
    import dask.array as da

    if rows is not None and rows < 1:
        raise InputError(f"rows must be at least 1; got {rows}.")
    if isinstance(embedding, (str, Path)):
        path = str(Path(embedding).resolve())
        source = blocks.check_source(blocks.open_embedding(path))
        n = source.shape[0]
        size = rows or -(-n // count)
        return source, [_Rows(path, slice(i, min(i + size, n))) for i in range(0, n, size)]
    source = embedding if isinstance(embedding, da.Array) else blocks.check_source(embedding)
    if not isinstance(source, da.Array):
        source = da.from_array(source, chunks=(rows or -(-source.shape[0] // count), -1))
    elif np.isnan(source.shape).any():
        raise InputError("the Dask array's chunks have unknown sizes; call compute_chunk_sizes() first.")
    else:
        source = source.rechunk({0: rows or source.chunks[0], 1: -1})
    blocks.check_source(source)
    return source, list(source.to_delayed()[:, 0])


@contextmanager
def _client(scheduler: Client | str | None) -> Iterator[Client]:
    """A client of that scheduler; one of our own is closed at the end."""
    from distributed import Client, LocalCluster

    if isinstance(scheduler, Client):
        yield scheduler
        return
    if isinstance(scheduler, str):
        try:
            client = Client(scheduler, timeout=_ANSWER)
        except (OSError, ValueError) as error:
            raise DataError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        with client:
            yield client
        return
    options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=blocks.cores(), **options) as local, Client(local) as client:
        yield client
