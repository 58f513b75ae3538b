"""PoZ, ghosts, geometry curves and embeddings over a Dask cluster.

Optional (``pip install 'rarefire[scale]'``). What is read stays where it is: a ``.npy`` file, a zarr store or
pictures that the workers can reach under the same name or address, or a Dask array. What travels is counts
and sums, whose size does not depend on the number of images. What was on a lost worker is computed again.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from rarefire import files, store
from rarefire._engine import blocks, grams
from rarefire._engine.arguments import checked
from rarefire._engine.grams import LEAST, Grams, correlation
from rarefire.curves import Curve, check_order, check_steps
from rarefire.errors import DataError, InputError, RarefireError
from rarefire.rdm import Metric

if TYPE_CHECKING:
    from distributed import Client, Future
    from torch import nn

    from rarefire.embeddings import Positions
    from rarefire.ghosts import FiringCounter, Ghosts
    from rarefire.poz import PozCounter
    from rarefire.stimuli import Gallery, Stimuli

__all__ = ["at_work", "connected", "extract", "geometry_curve", "ghosts", "poz"]

# Workers import this module before their first task: what only some tasks need is imported there.
_FAN_IN = 8  # sums that are added in one task
_AHEAD = 4  # tasks for each thread that are under way where their results are wanted in turn
_ANSWER = 60.0  # seconds that a scheduler may take to answer, on a busy machine
_QUIET = {"distributed.admin.large-graph-warning-threshold": "1 TB"}  # what is sent is said in the text
_BLOCK = 2**22  # numbers that are read at a time


@contextmanager
def connected(scheduler: Client | str | None) -> Iterator[Client]:
    """A client of a scheduler, for several calls of the other functions.

    Parameters
    ----------
    scheduler
        As for :func:`geometry_curve`. A client that is given stays open; what is started here is closed at
        the end of the block.

    Raises
    ------
    DataError
        If Dask is not installed, or the scheduler does not answer.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise DataError("a cluster needs Dask: pip install 'rarefire[scale]'.") from error
    if isinstance(scheduler, Client):
        yield scheduler
        return
    if isinstance(scheduler, str):
        try:
            client = Client(scheduler, timeout=_ANSWER)
        except (OSError, ValueError) as error:
            raise DataError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        with client, dask.config.set(_QUIET):
            yield client
        return
    # Processes that have imported torch take their time to end, of which nobody needs to be warned.
    quiet: dict[str, Any] = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
    local = LocalCluster(n_workers=blocks.cores(), threads_per_worker=1, **quiet)
    with local, Client(local) as client, dask.config.set(_QUIET):
        yield client


@contextmanager
def at_work(scheduler: Client | str | None) -> Iterator[Client]:
    """Within the block, what is measured of many networks, layers or studies apart is measured by a cluster.

    What would go to processes of this machine (:mod:`rarefire.records`,
    :func:`rarefire.transport.each_pair`) goes to the workers; results come back one by one and are kept
    here. Training stays on this machine, with its checkpoints.

    Parameters
    ----------
    scheduler
        As for :func:`geometry_curve`.

    Raises
    ------
    DataError
        As for :func:`connected`.
    """
    with connected(scheduler) as client, blocks.spread_over(client):
        yield client


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
        ``(n_images, n_features)``: the path of a ``.npy`` file, or the path or address of a zarr store
        (:func:`rarefire.files.address`), that every worker can read; a Dask array; or an array of this
        process or a file of another kind, which are then sent to the workers.
    order, metric, k, precision, progress
        As there.
    scheduler
        A ``distributed.Client``, the address of a scheduler (``"tcp://host:8786"``), or None for a
        cluster of processes on this machine, one for each core, which is closed at the end
        (:func:`connected` keeps one for several calls).
    rows
        Images in one task; by default about four tasks for each thread of the cluster.

    Returns
    -------
    Curve
        Equal to the one computed in memory, but for the order in which numbers are added.

    Raises
    ------
    DataError
        If Dask is not installed, the scheduler does not answer, workers keep dying, or one cannot read the
        embedding; the message names it.
    InputError
        As there.
    """
    with connected(scheduler) as client:
        source, parts = _parts(embedding, rows, client)
        n_features = source.shape[1]
        indices, steps = check_order(order, n_features), check_steps(k, n_features)
        r, left = np.full(len(steps), np.nan), np.zeros(len(steps), dtype=np.intp)
        for group in grams.groups(steps, n_features):
            empty = Grams(steps[group], metric, precision=precision)
            work = partial(_correlate, order=indices)
            total = _summed(client, parts, work, partial(_given, empty), grams.BLOCK, progress)
            r[group] = correlation(total.sums(), least=LEAST[precision])
            left[group] = total.images
    return Curve(steps, r, left, n_features)


@checked
def poz(
    embedding: Any,
    *,
    scheduler: Client | str | None = None,
    rows: int | None = None,
    progress: bool = False,
) -> NDArray[np.float64]:
    """PoZ of every feature, as :func:`rarefire.poz.poz`, counted by a cluster.

    Parameters
    ----------
    embedding, scheduler, rows
        As for :func:`geometry_curve`; post-ReLU.
    progress
        Show a progress bar on standard error.

    Returns
    -------
    ndarray
        ``(n_features,)``, share of zeros in [0, 1]; exactly that of one process, for zeros are counted.

    Raises
    ------
    DataError, InputError
        As for :func:`geometry_curve`, and for activations that are negative.
    """
    from rarefire.poz import PozCounter

    with connected(scheduler) as client:
        _, parts = _parts(embedding, rows, client, least=1)
        counted = _summed(client, parts, _count_zeros, lambda _: PozCounter(), _BLOCK, progress)
        rates: NDArray[np.float64] = counted.result()
        return rates


@checked
def ghosts(
    embedding: Any,
    category: ArrayLike,
    *,
    scheduler: Client | str | None = None,
    rows: int | None = None,
    progress: bool = False,
) -> Ghosts:
    """Ghost features of a category, as :func:`rarefire.ghosts.find`, counted by a cluster.

    Parameters
    ----------
    embedding, scheduler, rows
        As for :func:`geometry_curve`; post-ReLU.
    category
        As there: the images of the category, row numbers from 0 or a mask ``(n_images,)``.
    progress
        Show a progress bar on standard error.

    Returns
    -------
    Ghosts
        Exactly those of one process.

    Raises
    ------
    DataError, InputError
        As for :func:`poz`, and for rows that do not exist.
    """
    from rarefire.ghosts import FiringCounter

    with connected(scheduler) as client:
        source, parts = _parts(embedding, rows, client, least=1)
        counter = FiringCounter(category, source.shape[0])
        counter.add(_summed(client, parts, _count_firing, counter.part, _BLOCK, progress))
        return counter.result()


@checked
def extract(
    network: nn.Module | Callable[[], nn.Module],
    images: Stimuli | Gallery | NDArray[np.floating],
    *,
    out: str | Path,
    scheduler: Client | str | None = None,
    layer: str = "penultimate",
    spatial: Literal["flatten", "mean", "class"] = "flatten",
    positions: Positions | None = None,
    call: int | None = None,
    batch_size: int = 64,
    names: str | Path | None = None,
    progress: bool = False,
) -> Any:
    """Activations of one layer for all images, as :func:`rarefire.embeddings.save`, computed by a cluster.

    Stopped, it goes on where it was, here or on a cluster, when either is called again.

    Parameters
    ----------
    network
        A network, which is sent to the workers; or a function of no arguments that makes it, which each of
        them calls, such as ``functools.partial(networks.build, "vgg19", weights="vgg19.pth")``.
    images, layer, spatial, positions, call, batch_size, names
        As there. Pictures, in a folder or a zarr store, are read by the workers, under the same name.
    out
        A ``.npy`` file, which this process writes; or a zarr store, ``E.zarr`` or an address
        (:func:`rarefire.files.address`), into which every worker writes chunks of its own.
    scheduler
        As for :func:`geometry_curve`.
    progress
        Show a progress bar on standard error.

    Returns
    -------
    memmap or zarr array
        ``(n_images, n_features)`` float32, opened for reading. Equal to what one process writes, but for
        rounding: processors and their numbers of threads differ in the order in which they add.

    Raises
    ------
    DataError
        If Dask is not installed, the scheduler does not answer, workers keep dying, one cannot read the
        pictures or makes another network than here, or as there.
    InputError
        As there; and under ``torch.autocast``, which does not travel.
    """
    import torch

    from rarefire import embeddings, networks
    from rarefire.stimuli import Gallery, Stimuli

    made = network if isinstance(network, torch.nn.Module) else network()
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        raise InputError("torch.autocast does not reach the workers of a cluster: leave it, or embed here.")
    source = images.images if isinstance(images, Stimuli) else images
    options = {"layer": layer, "spatial": spatial, "positions": positions, "call": call}
    if isinstance(images, Gallery) and len(images):
        _ = images[:1]  # what is done to pictures is said here, once
    with connected(scheduler) as client:
        import cloudpickle  # Dask brings it

        maker, digest = cloudpickle.dumps(network), networks.digest(made)
        # Sent once, and again from here where all workers that had it are lost.
        carried: Any = client.submit(bytes, maker, pure=False) if made is network else maker

        def through(spans: Sequence[slice], keep: Any) -> Iterator[Any]:
            tasks = (
                partial(
                    client.submit,
                    _embed,
                    carried,
                    digest,
                    images.part(rows) if isinstance(images, Gallery) else source[rows],
                    rows,
                    batch_size,
                    options,
                    keep,
                    pure=False,
                )
                for rows in spans
            )
            yield from _in_turn(client, tasks)

        return embeddings.save(
            out,
            made,
            images,
            layer=layer,
            spatial=spatial,
            positions=positions,
            call=call,
            batch_size=batch_size,
            names=names,
            progress=progress,
            through=through,
        )


# --- on a worker ---------------------------------------------------------------------------------


class _Rows:
    """Rows of a file or store, opened where they are needed."""

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self) -> Any:
        """The file, on a worker."""
        return blocks.open_embedding(self.path)


def _correlate(total: Grams, block: Any, _: slice, *, order: NDArray[np.intp]) -> None:
    total.update(block[:, order])


def _count_zeros(total: PozCounter, block: Any, _: slice) -> None:
    total.update(block)


def _count_firing(total: FiringCounter, block: Any, rows: slice) -> None:
    total.update(block, rows)


def _sum(part: Any, inside: slice, empty: Any, work: Callable[..., None], elements: int) -> Any:
    """What `work` sums up over the rows of one part."""
    own = copy.deepcopy(empty)
    with _named():
        source, first = (part.open(), 0) if isinstance(part, _Rows) else (part, inside.start)
        for span in blocks.spans(source, elements=elements):
            start, stop = max(span.start + first, inside.start), min(span.stop + first, inside.stop)
            if start < stop:
                work(own, blocks.read(source, slice(start - first, stop - first)), slice(start, stop))
    return own


def _total(some: list[Any]) -> Any:
    """Add sums, leaving those given as they are: a task may be run again."""
    total = copy.deepcopy(some[0])
    for one in some[1:]:
        total.add(one)
    return total


_passing = threading.Lock()  # one pass at a time: what sees a layer's output hangs on the network


def _embed(
    maker: bytes,
    digest: str,
    images: Gallery | NDArray[np.floating],
    rows: slice,
    batch_size: int,
    options: Mapping[str, Any],
    keep: Callable[[slice, NDArray[np.float32]], int] | None,
) -> Any:
    """The rows of some images; or how many they are, once they are kept."""
    from rarefire import embeddings

    found = []
    with _named():
        with _passing:
            network = _made(maker, digest)
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            with _passing:
                try:
                    found.append(embeddings.extract(network, iter([batch]), **options))
                except InputError as error:
                    raise InputError(f"of the images from number {rows.start + start} on: {error}") from error
        values = np.concatenate(found)
        return values if keep is None else keep(rows, values)


@lru_cache(maxsize=2)
def _made(maker: bytes, digest: str) -> Any:
    """The network, made once in each process."""
    import cloudpickle
    import torch

    from rarefire import networks

    made = cloudpickle.loads(maker)
    network = made if isinstance(made, torch.nn.Module) else made()
    if networks.digest(network) != digest:
        raise DataError("its network is another one than where the run was started: files or weights differ")
    return network


@contextmanager
def _named() -> Iterator[None]:
    """What a worker cannot read, or write, is said with its name."""
    from distributed import get_worker

    try:
        yield
    except (DataError, OSError) as error:
        said = str(error) if isinstance(error, RarefireError) else store.reason(error)
        raise DataError(
            f"the worker {get_worker().address} says: {said.rstrip('.')}. Every worker must reach files, "
            "stores and networks under the same name."
        ) from error


# --- here ----------------------------------------------------------------------------------------


def _parts(
    embedding: Any, rows: int | None, client: Client, *, least: int = 3
) -> tuple[Any, list[tuple[Any, slice]]]:
    """What the embedding is, and its parts: rows of a file, or blocks of a Dask array."""
    import dask.array as da

    count = 4 * max(1, sum(client.nthreads().values()))
    if rows is not None and rows < 1:
        raise InputError(f"rows must be at least 1; got {rows}.")
    if isinstance(embedding, (str, Path)):
        path = files.address(embedding) or str(Path(embedding).resolve())
        embedding = blocks.check_source(blocks.open_embedding(path), least=least)
        if isinstance(embedding, np.memmap) or files.is_zarr(path):
            n = embedding.shape[0]
            size = rows or -(-n // count)
            chunk = getattr(embedding, "chunks", None)
            if chunk and rows is None:  # no chunk is read twice
                size = -(-size // chunk[0]) * chunk[0]
            return embedding, [(_Rows(path), slice(i, min(i + size, n))) for i in range(0, n, size)]
    source = embedding if isinstance(embedding, da.Array) else blocks.check_source(embedding, least=least)
    if not isinstance(source, da.Array):
        source = da.from_array(source, chunks=(rows or -(-source.shape[0] // count), -1))
    elif np.isnan(source.shape).any():
        raise InputError("the Dask array's chunks have unknown sizes; call compute_chunk_sizes() first.")
    else:
        source = source.rechunk({0: rows or source.chunks[0], 1: -1})
    blocks.check_source(source, least=least)
    ends = np.cumsum((0, *source.chunks[0])).tolist()
    spans = [slice(start, stop) for start, stop in pairwise(ends)]
    return source, list(zip(source.to_delayed()[:, 0], spans, strict=True))


def _given(begun: Grams, _: slice) -> Grams:
    return begun


def _summed(
    client: Client,
    parts: Sequence[tuple[Any, slice]],
    work: Callable[..., None],
    empty: Callable[[slice], Any],
    elements: int,
    progress: bool,
) -> Any:
    """What `work` sums up over all parts, each begun with what is `empty` for its rows."""
    from dask.delayed import delayed
    from distributed import as_completed

    tasks = [delayed(_sum)(part, rows, empty(rows), work, elements) for part, rows in parts]
    futures: list[Future[Any]] = client.compute(tasks)
    with _lasting():
        try:
            done = as_completed(futures)
            for future in tqdm(done, total=len(futures), desc="blocks of images", disable=not progress):
                future.result()  # raises here what went wrong there
            while len(futures) > 1:
                some = [futures[i : i + _FAN_IN] for i in range(0, len(futures), _FAN_IN)]
                futures = [client.submit(_total, few, pure=False) for few in some]
            return futures[0].result()
        finally:
            client.cancel(futures)


def _in_turn(client: Client, tasks: Iterator[Callable[[], Future[Any]]]) -> Iterator[Any]:
    """Results in the order of their tasks, of which a few are under way."""
    under_way: deque[Future[Any]] = deque()
    with _lasting():
        try:
            while True:
                most = _AHEAD * max(1, sum(client.nthreads().values()))
                while len(under_way) < most and (task := next(tasks, None)) is not None:
                    under_way.append(task())
                if not under_way:
                    return
                yield under_way[0].result()
                under_way.popleft()
        finally:
            client.cancel(list(under_way))


@contextmanager
def _lasting() -> Iterator[None]:
    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise DataError(f"workers died again and again, perhaps for want of memory: {error}") from error
