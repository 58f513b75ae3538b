"""Embeddings: a network, one of its layers and images -> ``(n_images, n_features)``.

A layer's output is copied the moment it is produced. Without that, an in-place ReLU further on
changes what was recorded, and nothing says so.
"""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from rarefire import files, networks, poz, store
from rarefire import names as naming
from rarefire._engine import axes
from rarefire._engine.arguments import checked
from rarefire._engine.blocks import Rows, open_embedding
from rarefire._engine.chunks import Growing
from rarefire.errors import DataError, InputError, RarefireWarning, unknown
from rarefire.stimuli import Gallery, Stimuli

__all__ = [
    "PENULTIMATE",
    "Images",
    "Positions",
    "Rows",
    "Spatial",
    "Through",
    "View",
    "cached",
    "each",
    "extract",
    "last_weighted",
    "layers",
    "open_embedding",
    "reading",
    "save",
    "stream",
    "views",
]

#: The features that enter the last layer with weights: post-ReLU in VGG, AlexNet, LeNet, ResNet, …
PENULTIMATE = "penultimate"

Images = Stimuli | NDArray[np.floating] | Tensor | Iterable[NDArray[np.floating] | Tensor]
Spatial = Literal["flatten", "mean", "class", "keep"]
#: Which axes a layer has, besides that of the images: ``channels_first`` is ``(n, c, …)``, ``channels_last``
#: ``(n, …, c)``, ``tokens`` ``(n, tokens, c)``, ``tokens_first`` ``(tokens, n, c)``.
Positions = Literal["channels_first", "channels_last", "tokens", "tokens_first"]
#: Embeds the images of some spans of rows, in turn: gives the rows of each; or has `keep` write them, which
#: says how many they are, wherever they are embedded.
Through = Callable[[Sequence[slice], Callable[[slice, NDArray[np.float32]], int] | None], Iterator[Any]]
_POSITIONS = ("channels_first", "channels_last", "tokens", "tokens_first")
_TOGETHER = 2**21  # numbers of an embedding that are written together
_FORGOTTEN = 7 * 24 * 3600  # seconds after which nobody goes on with a stopped run
_CLASS_TOKENS = ("class_token", "cls_token", "class_embedding", "cls_embedding")


@checked
def layers(network: nn.Module) -> list[str]:
    """Names of the network's layers, in the order in which they were defined."""
    return [name for name, _ in networks.unwrapped(network).named_modules() if name]


@checked
def extract(
    network: nn.Module,
    images: Images,
    *,
    layer: str = PENULTIMATE,
    spatial: Spatial = "flatten",
    positions: Positions | None = None,
    call: int | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> NDArray[np.float32]:
    """Activations of one layer for all images.

    Parameters
    ----------
    network
        Any module that takes ``(n, c, h, w)``. It is called in evaluation mode, without gradients,
        on the device of its weights and in their precision, and left as it was. What wraps it
        (``torch.compile``, ``DataParallel``) is looked through: layers have the names that they have in it.
    images
        :class:`~rarefire.stimuli.Stimuli`, an array or tensor ``(n, c, h, w)``, or an iterable of
        such batches (then only one batch is in memory at a time).
    layer
        A name from :func:`layers`, or ``"penultimate"``.
    spatial
        For a layer with positions, such as ``(n, c, h, w)`` or a transformer's ``(n, tokens, c)``:
        ``"flatten"`` makes each position of each channel a feature, in the layer's own order; ``"mean"``
        averages over positions, a class token among them; ``"class"`` takes the class token, which is the
        first; ``"keep"`` leaves them, channels first.
    positions
        Which axes are what (:data:`Positions`), for layers of which the network itself does not say it.
    call
        Which one, where the layer runs several times in a forward pass: 1 is the first, −1 the last.
    batch_size
        Images per step where `images` is not already in batches.
    progress
        Show a progress bar on standard error.

    Returns
    -------
    ndarray
        ``(n_images, n_features)`` float32; with ``spatial="keep"`` ``(n_images, n_channels, …)``.

    Raises
    ------
    UnknownNameError
        If the layer does not exist; the message lists those that do.
    InputError
        If an activation is NaN or infinite, or there are no images; if a layer's axes are not certain and
        `positions` does not say them, or its first axis is not the images; if it runs several times and
        `call` does not say which.
    """
    options: dict[str, Any] = {"layer": layer, "spatial": spatial, "positions": positions, "call": call}
    batches = list(stream(network, images, **options, batch_size=batch_size, progress=progress))
    if not batches:
        raise InputError("there are no images: got none to embed.")
    return np.concatenate(batches)


@checked
def stream(
    network: nn.Module,
    images: Images,
    *,
    layer: str = PENULTIMATE,
    spatial: Spatial = "flatten",
    positions: Positions | None = None,
    call: int | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> Iterator[NDArray[np.float32]]:
    """As :func:`extract`, one batch after the other; nothing is kept."""
    options: dict[str, Any] = {"spatial": spatial, "positions": positions, "call": call}
    for features in _stream(network, images, [layer], **options, batch_size=batch_size, progress=progress):
        yield features[layer]


@checked
def each(
    network: nn.Module,
    images: NDArray[np.floating] | Stimuli,
    *,
    layers: Sequence[str],
    spatial: Spatial = "flatten",
    positions: Positions | None = None,
    call: int | None = None,
    batch_size: int = 64,
    most: int = 2**31,
    progress: bool = False,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Activations of several layers, one after the other; as many at a time as memory is allowed for.

    Parameters
    ----------
    network, spatial, positions, call, batch_size, progress
        As for :func:`extract`.
    images
        :class:`~rarefire.stimuli.Stimuli`, or an array ``(n, c, h, w)``.
    layers
        Names, in the order in which they are wanted.
    most
        Bytes of activations kept at a time, one layer at least: the fewer, the more often the network is
        run.

    Yields
    ------
    layer, activations
        As of :func:`extract`.

    Raises
    ------
    UnknownNameError, InputError
        As for :func:`extract`, before anything is yielded where a name is wrong or a layer is not used.
    """
    options: dict[str, Any] = {
        "spatial": spatial,
        "positions": positions,
        "call": call,
        "batch_size": batch_size,
    }
    array = images.images if isinstance(images, Stimuli) else images
    if not len(array):
        raise InputError("there are no images: got none to embed.")
    (one,) = _stream(network, array[:1], layers, **options)
    shapes = {layer: (len(array), *features.shape[1:]) for layer, features in one.items()}
    left = list(layers)
    while left:
        size, group = 0, list[str]()
        while left and (not group or size + 4 * math.prod(shapes[left[0]]) <= most):
            size += 4 * math.prod(shapes[left[0]])
            group.append(left.pop(0))
        kept = {layer: np.empty(shapes[layer], dtype=np.float32) for layer in group}
        done = 0
        for features in _stream(network, array, group, **options, progress=progress):
            for layer, values in features.items():
                kept[layer][done : done + len(values)] = values
            done += len(values)
        for layer in group:
            yield layer, kept.pop(layer)


def _stream(
    network: nn.Module,
    images: Images,
    wanted: Sequence[str],
    *,
    spatial: Spatial,
    positions: Positions | None,
    call: int | None,
    batch_size: int,
    progress: bool = False,
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """By layer, one batch after the other."""
    if spatial not in ("flatten", "mean", "class", "keep"):
        raise InputError(f"spatial is 'class', 'flatten', 'mean' or 'keep'; got {spatial!r}.")
    if positions is not None and positions not in _POSITIONS:
        raise unknown("arrangement of positions", positions, list(_POSITIONS))
    if call is not None and (not isinstance(call, int | np.integer) or not call):
        raise InputError(f"call counts from 1, or from −1 for the last; got {call!r}.")
    network = networks.unwrapped(network)
    modules = dict(network.named_modules())
    places = {layer: networks.plain(layer, modules) for layer in wanted}
    for layer, place in places.items():
        if place != PENULTIMATE and place not in modules:
            raise unknown("layer", layer, [PENULTIMATE, *layers(network)])
    weight = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    modes = [(module, module.training) for module in modules.values()]
    done, arranged, sizes = 0, dict[str, str](), dict[str, tuple[int, ...]]()
    with ExitStack() as stack:
        network.eval()
        for module, training in modes:
            stack.callback(setattr, module, "training", training)
        for batch in tqdm(_batches(images, batch_size), desc=", ".join(wanted), disable=not progress):
            if isinstance(batch, np.ndarray):
                batch = np.require(batch, requirements="W")  # torch takes no read-only memory map
            inputs = torch.as_tensor(batch).to(weight.device, dtype=weight.dtype)
            if not done and PENULTIMATE in places.values():
                modules[PENULTIMATE] = modules[last_weighted(network, inputs)]
            found = _seen(network, modules, places, inputs, call)
            if not done:
                unsure = []
                for layer, activations in found.items():
                    _check_first(layer, activations, len(inputs), positions)
                    if activations.ndim == 3 or (activations.ndim > 3 and spatial != "flatten"):
                        unsure.append(layer)
                arranged = _arranged(
                    network, modules, {n: places[n] for n in unsure}, inputs, call, positions
                )
            features = {}
            for layer, activations in found.items():
                _check_first(layer, activations, len(inputs), arranged.get(layer))
                shaped = _shape(layer, activations, spatial, arranged.get(layer), network)
                features[layer] = values = shaped.cpu().numpy()
                if sizes.setdefault(layer, values.shape[1:]) != values.shape[1:]:
                    raise InputError(
                        f"the layer {layer!r} gives {values.shape[1:]} for each image of the batch that "
                        f"starts at image {done}, and {sizes[layer]} before: no rows of one embedding."
                    )
                bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
                if bad.any():
                    half = " In half precision numbers above 65,504 are infinite: network.float() has room."
                    raise InputError(
                        f"layer {layer!r} is NaN or infinite for {bad.sum()} of {len(bad)} images in the "
                        f"batch that starts at image {done} (first: image {done + bad.argmax()}). "
                        "Check the network's weights and that its inputs are finite and in [0, 1]."
                        + half
                        * (activations.dtype == torch.float16)
                    )
            done += len(inputs)
            yield features


@checked
def save(
    path: str | Path,
    network: nn.Module,
    images: Stimuli | Gallery | NDArray[np.floating],
    *,
    layer: str = PENULTIMATE,
    spatial: Literal["flatten", "mean", "class"] = "flatten",
    positions: Positions | None = None,
    call: int | None = None,
    batch_size: int = 64,
    progress: bool = False,
    names: str | Path | None = None,
    through: Through | None = None,
) -> Any:
    """As :func:`extract`, into a file or a zarr store: as many images as the disk holds, few in memory.

    An interrupted run goes on where it was when it is called again for the same network, layer and
    images; until it is done, there is nothing at `path`. One run at a time writes there.

    Parameters
    ----------
    path
        A ``.npy`` file; one that is there is replaced. Or a zarr store, ``E.zarr`` or an address
        (:func:`rarefire.files.address`), of which nothing else may be there; chunks are whole rows, and the
        pictures' names are its attribute ``names``.
    network, layer, spatial, positions, call, batch_size, progress
        As for :func:`extract`.
    images
        :class:`~rarefire.stimuli.Stimuli`, :class:`~rarefire.stimuli.Gallery`, or an array
        ``(n, c, h, w)``.
    names
        Also write the name of each row's picture to this file, one a line; of a gallery only. They are
        kept beside the rows in any case, ``E.names.txt`` of ``E.npy``, where commands look for them. At
        no time do names lie beside rows of other pictures, wherever the run is stopped.
    through
        Who embeds the images; by default this process (:func:`rarefire.cluster.extract` has others do it).

    Returns
    -------
    memmap or zarr array
        ``(n_images, n_features)`` float32, opened for reading; it is read in blocks wherever it is used.

    Raises
    ------
    DataError
        If another run is writing `path`, it leads to something that is no file, or the disk refuses.
        What was written waits for the next call.
    """
    path = Path(path)
    in_zarr = path.suffix == ".zarr" or files.address(path) is not None
    if not in_zarr and (path.suffix != ".npy" or path.is_dir()):
        raise InputError(f"an embedding is saved as a .npy file or a .zarr store; got {path.name!r}.")
    source = images.images if isinstance(images, Stimuli) else images
    if spatial not in ("flatten", "mean", "class"):
        raise InputError(f"spatial is 'flatten' or 'mean'; got {spatial!r}. (Of tokens, also 'class'.)")
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise InputError(f"images must be (n, c, h, w); got {source.shape}.")
    if not len(source):
        raise InputError("there are no images: got none to embed.")
    if names is not None and not isinstance(images, Gallery):
        raise InputError(f"names are those of a gallery's pictures; got images as {type(images).__name__}.")
    listed = images.paths if isinstance(images, Gallery) else ()
    naming.check_writable(listed)
    options: dict[str, Any] = {"layer": layer, "spatial": spatial, "positions": positions, "call": call}
    n = len(source)
    if in_zarr:
        _save_in_store(
            path, network, images, options, batch_size=batch_size, through=through, progress=progress
        )
        if names is not None:
            with store.atomic_write(names) as file:
                file.write("".join(f"{name}\n" for name in listed).encode())
        return open_embedding(path)
    place = store.target(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Before anything of an earlier run is read or cut: another may be writing it.
        with store.alone(place):
            part = place.with_name(f".{place.stem}-{_key(network, images, **options)}.part")
            done = _whole_rows(part)
            if through is None:
                batches = (source[i : i + batch_size] for i in range(done, n, batch_size))
                embedded: Iterator[Any] = stream(network, batches, **options)
            else:
                width = next(stream(network, source[:1], **options)).shape[1]
                step = batch_size * _batches_together(n, batch_size, width)
                spans = [slice(i, min(i + step, n)) for i in range(done, n, step)]
                embedded = through(spans, None)
            with tqdm(total=n, initial=done, desc=f"{path.stem}: {layer}", disable=not progress) as bar:
                _append(part, embedded, n, bar)
            if not _is_whole(part, n):  # nor are its rows to be trusted
                part.unlink()
                raise DataError(
                    f"{part} was changed meanwhile by something else, and is given up. Start again."
                )
            lists = sorted({naming.beside(path), *([] if names is None else [Path(names)])})
            with ExitStack() as beside:
                for one in lists if listed else []:
                    written = beside.enter_context(store.atomic_write(one))
                    written.write("".join(f"{name}\n" for name in listed).encode())
                    written.flush()
                # Stopped between the files, there are rows without names, never with others.
                for one in lists:
                    with suppress(DataError):  # a pipe, say, holds no earlier ones
                        store.target(one).unlink(missing_ok=True)
                store.replace(part, place)
                _sweep(place)
            opened: np.memmap[Any, np.dtype[np.float32]] = np.load(place, mmap_mode="r", allow_pickle=False)
            return opened
    except OSError as error:
        raise DataError(
            f"could not write {path}: {error.strerror or error}. What is there goes on from where it is when "
            "there is space."
        ) from error


def _key(network: nn.Module, images: Stimuli | Gallery | NDArray[np.floating], **options: Any) -> str:
    """A name for all that determines an embedding."""
    content = store.array_digest(images) if isinstance(images, np.ndarray) else images.digest
    facts: dict[str, Any] = {
        "weights": networks.digest(network),
        "normalisation": networks.normalisation(network),
    }
    said = {**options, "autocast": _autocast(network)}
    facts |= {name: value for name, value in said.items() if value is not None}
    return store.key(images=content, **facts)


def _save_in_store(
    path: Path,
    network: nn.Module,
    images: Stimuli | Gallery | NDArray[np.floating],
    options: Mapping[str, Any],
    *,
    batch_size: int,
    through: Through | None,
    progress: bool,
) -> None:
    """As :func:`save`, into a zarr store, of which chunks that are there are not written again."""
    source = images.images if isinstance(images, Stimuli) else images
    n, width = len(source), next(stream(network, source[:1], **options)).shape[1]

    def embedded(spans: Sequence[slice]) -> Iterator[int]:
        for rows in spans:
            starts = range(rows.start, rows.stop, batch_size)
            batches = (source[i : min(i + batch_size, rows.stop)] for i in starts)
            yield growing.write(rows, extract(network, batches, **options))

    with store.alone(path) if files.address(path) is None else nullcontext():
        growing = Growing(
            path,
            _key(network, images, **options),
            shape=(n, width),
            dtype="f4",
            rows=batch_size * _batches_together(n, batch_size, width),
            attributes={"names": list(images.paths)} if isinstance(images, Gallery) else {},
        )
        left = growing.missing()
        done = n - sum(rows.stop - rows.start for rows in left)
        with tqdm(
            total=n, initial=done, desc=f"{path.stem}: {options['layer']}", disable=not progress
        ) as bar:
            for count in embedded(left) if through is None else through(left, growing.write):
                bar.update(count)
        growing.finish()


def _batches_together(n: int, batch_size: int, width: int) -> int:
    """How many batches are a task of its own: some megabytes of rows, and sixteen tasks where there are."""
    return max(1, min(_TOGETHER // (batch_size * width), n // (16 * batch_size)))


def cached(path: Path, n_images: int) -> NDArray[np.float32] | None:
    """What :func:`save` has left in the cache; None where it is not there, or, with a warning, not whole.

    Parameters
    ----------
    path
        In the cache, under a name made of all that determines it.
    n_images
        How many rows it has.
    """
    if not os.path.lexists(path):
        return None
    try:
        found: NDArray[np.float32] = open_embedding(path)
        if found.ndim != 2 or len(found) != n_images or found.dtype != np.float32:
            raise ValueError(f"it is {found.shape} {found.dtype}, of {n_images} images")
    except Exception as error:  # a damaged file raises many kinds
        warnings.warn(
            f"the cached embedding {path} is damaged ({store.reason(error)}); it is computed again.",
            RarefireWarning,
            stacklevel=2,
        )
        store.make_way(path)
        return None
    return found


@dataclass(frozen=True)
class View:
    """A layer, as features.

    Attributes
    ----------
    name
        ``"pooled"``, ``"channels"``, ``"positions"``, or ``"features"`` for a layer without positions.
    embedding
        ``(n_images, n_features)``, post-ReLU.
    silent
        ``(n_images, n_features)``, how many zeros each image has in each feature; for channels, over
        positions.
    positions
        Zeros that an image can have in a feature.
    """

    name: str
    embedding: NDArray[np.float32]
    silent: NDArray[np.integer | np.bool_]
    positions: int = 1

    @property
    def poz(self) -> NDArray[np.float64]:
        """``(n_features,)``, what the features are ordered by; for channels the APoZ."""
        return np.asarray(self.silent.sum(axis=0) / (len(self.silent) * self.positions))


@checked
def reading(
    network: nn.Module,
    images: NDArray[np.floating] | Tensor,
    *,
    layer: str = PENULTIMATE,
    spatial: Spatial = "flatten",
    positions: Positions | None = None,
    call: int | None = None,
) -> str:
    """What :func:`extract` takes a layer's output for, in words.

    Parameters
    ----------
    network, layer, spatial, positions, call
        As for :func:`extract`.
    images
        ``(n, c, h, w)``; the first is put to the network.

    Returns
    -------
    str
        Such as ``"16 features, each the mean of 17 tokens"``.
    """
    options: dict[str, Any] = {"layer": layer, "positions": positions, "call": call}
    shape = next(stream(network, images[:1], spatial="flatten", **options)).shape
    try:
        kept = next(stream(network, images[:1], spatial="keep", **options)).shape
    except InputError:
        return f"{shape[1]:,} features, every number of the layer one"
    if len(kept) == 2:
        return f"{kept[1]:,} features"
    places = " × ".join(map(str, kept[2:])) + (" tokens" if len(kept) == 3 else " positions")
    if spatial == "mean":
        return f"{kept[1]:,} features, each the mean of {places}"
    if spatial == "class":
        return f"{kept[1]:,} features of the class token, the first of {places}"
    return f"{kept[1]:,} features at {places}"


@checked
def views(
    network: nn.Module,
    images: Images,
    *,
    layer: str = PENULTIMATE,
    positions: Positions | None = None,
    call: int | None = None,
    batch_size: int = 32,
) -> list[View]:
    """What a layer can be taken for.

    Parameters
    ----------
    network, images, layer, positions, call, batch_size
        As for :func:`rarefire.embeddings.extract`.

    Returns
    -------
    list of View
        For a layer without positions, ``features`` alone. For one with positions: ``pooled``, channels
        averaged over positions, by the share of images for which that mean is 0; ``channels``, the same
        features by their APoZ, the share of zeros over images and positions (Hu et al. 2016);
        ``positions``, every position of every channel a feature.
    """
    options: dict[str, Any] = {"layer": layer, "positions": positions, "call": call}
    activations = extract(network, images, spatial="keep", **options, batch_size=batch_size)
    if activations.ndim not in (2, 4):  # tokens, or more than two axes of positions
        activations = activations.reshape(*activations.shape[:2], -1, 1)
    # Post-ReLU, with positions or without.
    poz.check_activations(activations, hint=networks.about_relus(network))
    if activations.ndim == 2:
        return [View("features", activations, activations == 0)]
    pooled, flat = activations.mean(axis=(2, 3)), activations.reshape(len(activations), -1)
    zeros = np.count_nonzero(activations == 0, axis=(2, 3))
    return [
        View("pooled", pooled, pooled == 0),
        View("channels", pooled, zeros, activations[0, 0].size),
        View("positions", flat, flat == 0),
    ]


def _append(part: Path, embedded: Iterable[NDArray[np.float32]], n: int, bar: tqdm[Any]) -> None:
    """Write rows behind those that are there; `n` there will be in all."""
    with ExitStack() as opened:
        file, width = None, 0
        for rows in embedded:
            if file is None:
                file, width = opened.enter_context(part.open("a+b")), 4 * rows.shape[1]
                if file.tell():
                    file.seek(0)
                    _, width = _layout(file)
                else:
                    facts = {"descr": "<f4", "fortran_order": False, "shape": (n, rows.shape[1])}
                    np.lib.format.write_array_header_1_0(file, facts)
            if 4 * rows.shape[1] != width:
                raise DataError(
                    f"{part} was begun with {width // 4:,} features an image; now there are "
                    f"{rows.shape[1]:,}. Remove it and start again."
                )
            file.write(np.ascontiguousarray(rows, dtype="<f4").data)
            bar.update(len(rows))
        if file is not None:
            file.flush()
            os.fsync(file.fileno())


def _whole_rows(part: Path) -> int:
    """How many rows an interrupted run has written; half a row is cut off."""
    if not part.exists():
        return 0
    with part.open("r+b") as file:
        try:
            start, width = _layout(file)
        except ValueError:  # stopped in the header
            file.truncate(0)
            return 0
        done = (part.stat().st_size - start) // width
        file.truncate(start + done * width)
    return done


def _sweep(place: Path) -> None:
    """Remove what runs with other facts left beside `place` when they were stopped, a week ago or longer."""
    left = re.compile(rf"\.{re.escape(place.stem)}-[0-9a-f]{{20}}\.part")
    for path in place.parent.glob(".*.part"):
        if left.fullmatch(path.name) and time.time() - path.stat().st_mtime > _FORGOTTEN:
            path.unlink(missing_ok=True)


def _is_whole(part: Path, n: int) -> bool:
    """Whether there are `n` rows, no more and no less."""
    with part.open("rb") as file:
        try:
            start, width = _layout(file)
        except ValueError:
            return False
    return part.stat().st_size == start + n * width


def _layout(file: IO[bytes]) -> tuple[int, int]:
    """Where the rows of a .npy file start, and how many bytes each has."""
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return file.tell(), shape[1] * dtype.itemsize


class _Tap:
    """What one layer gave in a forward pass: the call that is wanted, and the shapes of all."""

    def __init__(self, layer: str, call: int | None, *, copied: bool = True) -> None:
        self.layer, self.call, self.copied = layer, call, copied
        self.shapes: list[tuple[int, ...]] = []
        self._kept: deque[Tensor] = deque(maxlen=-call if call is not None and call < 0 else 1)

    def see(self, output: Any) -> None:
        """One call, as its output comes."""
        if not isinstance(output, Tensor):
            raise InputError(
                f"the layer {self.layer!r} returns a {type(output).__name__}, not one tensor. "
                "Name one of the layers inside it."
            )
        self.shapes.append(tuple(output.shape))
        if (self.call or 1) < 0 or len(self.shapes) == (self.call or 1):
            self._kept.append(output.clone() if self.copied else output)

    def result(self) -> Tensor:
        """The output of the call that is wanted."""
        n, call = len(self.shapes), self.call
        if not n:
            raise InputError(f"the layer {self.layer!r} exists but is not used in a forward pass.")
        if call is None and n > 1:
            shown = ", ".join(map(str, self.shapes[:3])) + ", …" * (n > 3)
            raise InputError(
                f"the layer {self.layer!r} runs {n} times in a forward pass and gives {shown}. Say which "
                f"with call=1 to call={n}, or call=-1 for the last (rarefire embed: --call)."
            )
        if call is not None and abs(call) > n:
            raise InputError(
                f"the layer {self.layer!r} runs {n} time{'s' * (n > 1)} in a forward pass; got call={call}."
            )
        return self._kept[0]


def _seen(
    network: nn.Module,
    modules: dict[str, nn.Module],
    places: dict[str, str],
    inputs: Tensor,
    call: int | None,
    watch: bool = False,
) -> Any:
    """By layer, its activations; with `watch` the tensors themselves, and what is known of their axes."""
    with ExitStack() as stack:
        axes.eager(network, stack)
        watching = axes.Watch(network, stack) if watch else None
        taps = {}
        for layer, place in places.items():
            # Of the layer that runs last it is its last call.
            tap = _Tap(layer, -1 if place == PENULTIMATE else call, copied=not watch)
            taps[layer] = tap
            module = modules[place]
            if place == PENULTIMATE:
                handle = module.register_forward_pre_hook(
                    lambda _, args, kwargs, tap=tap: tap.see(axes.first_tensor(args, kwargs)),
                    with_kwargs=True,
                )
            else:
                handle = module.register_forward_hook(lambda _, __, output, tap=tap: tap.see(output))
            stack.callback(handle.remove)
        with torch.inference_mode():
            network(inputs)
        found = {layer: tap.result() for layer, tap in taps.items()}
        if watching is None:
            return found
        return {layer: (tensor, watching.axis(tensor)) for layer, tensor in found.items()}


def _arranged(
    network: nn.Module,
    modules: dict[str, nn.Module],
    places: dict[str, str],
    inputs: Tensor,
    call: int | None,
    positions: Positions | None,
) -> dict[str, str]:
    """Which axes layers have, as far as it is known or said.

    Of another number of images, so that as many tokens as images are not taken for these.
    """
    if not places:
        return {}
    few = inputs[:1] if len(inputs) > 1 else inputs.repeat(2, *[1] * (inputs.ndim - 1))
    found = {}
    for layer, (tensor, axis) in _seen(network, modules, places, few, call, watch=True).items():
        said = positions if positions in ("tokens_first", "tokens") and tensor.ndim != 3 else None
        if said is not None:
            raise InputError(f"the layer {layer!r} is {tuple(tensor.shape)}: {said!r} is for three axes.")
        _check_first(layer, tensor, len(few), positions)
        known = positions or axis
        if known is not None:
            found[layer] = known
    return found


def _check_first(layer: str, activations: Tensor, n: int, positions: str | None) -> None:
    """An image for each row, or an error."""
    shape = tuple(activations.shape)
    axis = int(positions == "tokens_first" and len(shape) > 2)
    if shape[axis : axis + 1] == (n,):
        return
    images = f"{n} image{'s' * (n > 1)}"
    if axis:
        raise InputError(f"the layer {layer!r} is {shape} for {images}: its second axis is not the images.")
    turned = len(shape) == 3 and shape[1] == n
    raise InputError(
        f"the layer {layer!r} is {shape} for {images}: its first axis is not the images. "
        + ("If that is (tokens, images, features), say positions='tokens_first'; else " if turned else "")
        + ("name another layer." if turned else "Name another layer.")
    )


def last_weighted(network: nn.Module, images: Tensor) -> str:
    """Name of the linear or convolutional layer that runs last (order of calls, not of definition).

    Parameters
    ----------
    network
        As for :func:`extract`.
    images
        ``(n, c, h, w)``; the first is put to the network.

    Raises
    ------
    InputError
        If there is no such layer, or the network returns the outputs of several.
    """
    calls: list[str] = []
    outputs: list[tuple[str, Any]] = []  # kept, so that each is an object of its own
    network = networks.unwrapped(network)
    with ExitStack() as stack:
        axes.eager(network, stack)
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                handle = module.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
                stack.callback(handle.remove)
                handle = module.register_forward_hook(
                    lambda _, __, output, name=name: outputs.append((name, output))
                )
                stack.callback(handle.remove)
        with torch.inference_mode():
            returned = network(images[:1])
    parts = returned.values() if isinstance(returned, Mapping) else returned
    if not isinstance(returned, Tensor) and isinstance(parts, Iterable):
        given = list(parts)
        heads = dict.fromkeys(name for name, output in outputs if any(output is part for part in given))
        if len(heads) > 1:
            raise InputError(
                f"the network returns the outputs of several layers ({', '.join(heads)}): it is not certain "
                "whose input the penultimate features are. Name a layer."
            )
    if not calls:
        raise InputError("the network has no linear or convolutional layer: name a layer= instead.")
    return calls[-1]


def _autocast(network: nn.Module) -> str | None:
    """The precision that ``torch.autocast`` has the network run in, if it does."""
    device = next((p.device.type for p in network.parameters()), "cpu")
    return str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else None


def _shape(
    layer: str, activations: Tensor, spatial: Spatial, positions: str | None, network: nn.Module
) -> Tensor:
    """As rows, or with channels first."""
    activations = activations.float()
    if activations.ndim < 3:
        if spatial == "class":
            raise InputError(f"the layer {layer!r} has no tokens: it is {tuple(activations.shape)}.")
        return activations if spatial == "keep" else activations.flatten(1)
    if positions == "tokens_first":
        activations = activations.transpose(0, 1)
    if spatial == "flatten":
        return activations.flatten(1)
    if positions is None:
        raise InputError(
            f"the layer {layer!r} is {tuple(activations.shape)}, and it is not certain which axis holds the "
            "features. Say positions='tokens' or 'channels_last' where that is the last one, or "
            "'channels_first' where it is the second (rarefire embed: --positions)."
        )
    if spatial == "class":
        names = [name.rpartition(".")[2] for name, _ in network.named_parameters()]
        if activations.ndim != 3 or positions == "channels_first" or not set(names) & set(_CLASS_TOKENS):
            raise InputError(
                f"the layer {layer!r} is {tuple(activations.shape)} and has no class token "
                f"({', '.join(_CLASS_TOKENS)} among the network's parameters). Say spatial='mean'."
            )
        return activations[:, 0]
    if positions != "channels_first":
        activations = activations.movedim(-1, 1)
    return activations.flatten(2).mean(2) if spatial == "mean" else activations


def _batches(images: Images, batch_size: int) -> Iterable[NDArray[np.floating] | Tensor]:
    if isinstance(images, Stimuli):
        images = images.images
    if isinstance(images, np.ndarray | Tensor):
        if images.ndim != 4:
            raise InputError(f"images must be (n, c, h, w); got {tuple(images.shape)}.")
        if images.shape[-1] in (1, 3) and images.shape[1] > 4:
            raise InputError(
                f"images must be (n, c, h, w); got {tuple(images.shape)}, with channels last: "
                "images.transpose(0, 3, 1, 2) puts them second."
            )
        if not (images.is_floating_point() if isinstance(images, Tensor) else images.dtype.kind == "f"):
            raise InputError(
                f"images are numbers in [0, 1]; got {images.dtype}. Divide those from 0 to 255 by 255."
            )
        array = images
        first = array[:batch_size]
        if len(first) and first.min() >= 0 and first.max() > 2:
            warnings.warn(
                f"images go up to {float(first.max()):.3g}; networks take numbers in [0, 1], unless one of "
                "your own says otherwise: divide those from 0 to 255 by 255.",
                RarefireWarning,
                stacklevel=2,
            )
        return [array[i : i + batch_size] for i in range(0, len(array), batch_size)]
    kind = type(images).__name__
    if kind == "str" or not hasattr(images, "__iter__"):
        raise InputError(f"images must be (n, c, h, w), or batches of such; got {kind}.")
    return images
