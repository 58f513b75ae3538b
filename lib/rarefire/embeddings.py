"""Embeddings: a network, one of its layers and images -> ``(n_images, n_features)``.

A layer's output is copied the moment it is produced. Without that, an in-place ReLU further on
changes what was recorded, and nothing says so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from rarefire import names as naming
from rarefire import networks, poz, store
from rarefire._engine.blocks import Rows, open_embedding
from rarefire.errors import DataError, InputError, unknown
from rarefire.stimuli import Gallery, Stimuli

__all__ = [
    "PENULTIMATE",
    "Images",
    "Rows",
    "Spatial",
    "View",
    "each",
    "extract",
    "last_weighted",
    "layers",
    "open_embedding",
    "save",
    "stream",
    "views",
]

#: The features that enter the last layer with weights: post-ReLU in VGG, AlexNet, LeNet, ResNet, …
PENULTIMATE = "penultimate"

Images = Stimuli | NDArray[np.floating] | Tensor | Iterable[NDArray[np.floating] | Tensor]
Spatial = Literal["flatten", "mean", "keep"]


def layers(network: nn.Module) -> list[str]:
    """Names of the network's layers, in the order in which they were defined."""
    return [name for name, _ in network.named_modules() if name]


def extract(
    network: nn.Module,
    images: Images,
    *,
    layer: str = PENULTIMATE,
    spatial: Spatial = "flatten",
    batch_size: int = 256,
    progress: bool = False,
) -> NDArray[np.float32]:
    """Activations of one layer for all images.

    Parameters
    ----------
    network
        Any module that takes ``(n, c, h, w)``. It is called in evaluation mode, without gradients,
        on the device of its weights, and left as it was.
    images
        :class:`~rarefire.stimuli.Stimuli`, an array or tensor ``(n, c, h, w)``, or an iterable of
        such batches (then only one batch is in memory at a time).
    layer
        A name from :func:`layers`, or ``"penultimate"``.
    spatial
        For a layer with positions, ``(n, c, h, w)``: ``"flatten"`` makes each position a feature,
        ``"mean"`` averages over positions, ``"keep"`` leaves them.
    batch_size
        Images per step where `images` is not already in batches.
    progress
        Show a progress bar on standard error.

    Returns
    -------
    ndarray
        ``(n_images, n_features)`` float32; four dimensions with ``spatial="keep"``.

    Raises
    ------
    UnknownNameError
        If the layer does not exist; the message lists those that do.
    InputError
        If an activation is NaN or infinite, or there are no images.
    """
    batches = list(
        stream(network, images, layer=layer, spatial=spatial, batch_size=batch_size, progress=progress)
    )
    if not batches:
        raise InputError("there are no images: got none to embed.")
    return np.concatenate(batches)


def stream(
    network: nn.Module,
    images: Images,
    *,
    layer: str = PENULTIMATE,
    spatial: Spatial = "flatten",
    batch_size: int = 256,
    progress: bool = False,
) -> Iterator[NDArray[np.float32]]:
    """As :func:`extract`, one batch after the other; nothing is kept."""
    options: dict[str, Any] = {"spatial": spatial, "batch_size": batch_size, "progress": progress}
    for features in _stream(network, images, [layer], **options):
        yield features[layer]


def each(
    network: nn.Module,
    images: NDArray[np.floating] | Stimuli,
    *,
    layers: Sequence[str],
    spatial: Spatial = "flatten",
    batch_size: int = 64,
    most: int = 2**31,
    progress: bool = False,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Activations of several layers, one after the other; as many at a time as memory is allowed for.

    Parameters
    ----------
    network, spatial, batch_size, progress
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
    options: dict[str, Any] = {"spatial": spatial, "batch_size": batch_size}
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
    batch_size: int,
    progress: bool = False,
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """By layer, one batch after the other."""
    if spatial not in ("flatten", "mean", "keep"):
        raise InputError(f"spatial is 'flatten', 'mean' or 'keep'; got {spatial!r}.")
    modules = dict(network.named_modules())
    for layer in wanted:
        if layer != PENULTIMATE and layer not in modules:
            raise unknown("layer", layer, [PENULTIMATE, *layers(network)])
    weight = next(network.parameters(), torch.empty(0))
    modes = [(module, module.training) for module in modules.values()]
    caught: dict[str, Tensor] = {}
    done = 0
    with ExitStack() as stack:
        network.eval()
        for module, training in modes:
            stack.callback(setattr, module, "training", training)
        for batch in tqdm(_batches(images, batch_size), desc=", ".join(wanted), disable=not progress):
            if isinstance(batch, np.ndarray):
                batch = np.require(batch, requirements="W")  # torch takes no read-only memory map
            inputs = torch.as_tensor(batch).to(weight.device, dtype=torch.float32)
            if not done:
                for layer in wanted:
                    _hook(network, modules, layer, inputs, caught, stack)
            caught.clear()
            with torch.inference_mode():
                network(inputs)
            found = {}
            for layer in wanted:
                if layer not in caught:
                    raise InputError(f"the layer {layer!r} exists but is not used in a forward pass.")
                shape, n = tuple(caught[layer].shape), len(inputs)
                if shape[:1] != (n,):
                    raise InputError(
                        f"the layer {layer!r} is {shape} for {n} image{'s' * (n > 1)}: its first axis is not "
                        "the images. Name another layer."
                    )
                found[layer] = _shape(caught[layer], spatial).cpu().numpy()
                bad = ~np.isfinite(found[layer].reshape(len(found[layer]), -1)).all(axis=1)
                if bad.any():
                    raise InputError(
                        f"layer {layer!r} is NaN or infinite for {bad.sum()} of {len(bad)} images in the "
                        f"batch that starts at image {done} (first: image {done + bad.argmax()}). "
                        "Check the network's weights and that its inputs are finite and in [0, 1]."
                    )
            done += len(found[layer])
            yield found


def save(
    path: str | Path,
    network: nn.Module,
    images: Stimuli | Gallery | NDArray[np.floating],
    *,
    layer: str = PENULTIMATE,
    spatial: Literal["flatten", "mean"] = "flatten",
    batch_size: int = 64,
    progress: bool = False,
    names: str | Path | None = None,
) -> np.memmap[Any, np.dtype[np.float32]]:
    """As :func:`extract`, into a file: as many images as the disk holds, one batch of them in memory.

    An interrupted run goes on where it was when it is called again for the same network, layer and
    images; until it is done, there is nothing at `path`. One run at a time writes there.

    Parameters
    ----------
    path
        A ``.npy`` file; one that is there is replaced.
    network, layer, spatial, batch_size, progress
        As for :func:`extract`.
    images
        :class:`~rarefire.stimuli.Stimuli`, :class:`~rarefire.stimuli.Gallery`, or an array
        ``(n, c, h, w)``.
    names
        Also write the name of each row's picture to this file, one a line; of a gallery only. They are
        kept beside the rows in any case, ``E.names.txt`` of ``E.npy``, where commands look for them. At
        no time do names lie beside rows of other pictures, wherever the run is stopped.

    Returns
    -------
    memmap
        ``(n_images, n_features)`` float32, opened for reading; it is read in blocks wherever it is used.

    Raises
    ------
    DataError
        If another run is writing `path`, it leads to something that is no file, or the disk refuses.
        What was written waits for the next call.
    """
    path = Path(path)
    if path.suffix != ".npy" or path.is_dir():
        raise InputError(f"an embedding is saved as a .npy file; got {path.name!r}.")
    source = images.images if isinstance(images, Stimuli) else images
    if spatial not in ("flatten", "mean"):
        raise InputError(f"spatial is 'flatten' or 'mean'; got {spatial!r}.")
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise InputError(f"images must be (n, c, h, w); got {source.shape}.")
    if not len(source):
        raise InputError("there are no images: got none to embed.")
    if names is not None and not isinstance(images, Gallery):
        raise InputError(f"names are those of a gallery's pictures; got images as {type(images).__name__}.")
    listed = []
    if isinstance(images, Gallery):
        listed = [file.relative_to(images.root).as_posix() for file in images.files]
        naming.check_writable(listed)
    place, n = store.target(path), len(source)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Before anything of an earlier run is read or cut: another may be writing it.
        with store.alone(place):
            content = store.array_digest(images) if isinstance(images, np.ndarray) else images.digest
            facts = {"weights": networks.digest(network), "normalisation": networks.normalisation(network)}
            key = store.key(images=content, layer=layer, spatial=spatial, **facts)
            part = place.with_name(f".{place.stem}-{key}.part")
            done = _whole_rows(part)
            batches = (source[i : i + batch_size] for i in range(done, n, batch_size))
            embedded = stream(network, batches, layer=layer, spatial=spatial)
            with tqdm(total=n, initial=done, desc=f"{path.stem}: {layer}", disable=not progress) as bar:
                _append(part, embedded, n, bar)
            if not _is_whole(part, n):  # nor are its rows to be trusted
                part.unlink()
                raise DataError(
                    f"{part} was changed meanwhile by something else, and is given up. Start again."
                )
            files = sorted({naming.beside(path), *([] if names is None else [Path(names)])})
            with ExitStack() as beside:
                for file in files if listed else []:
                    written = beside.enter_context(store.atomic_write(file))
                    written.write("".join(f"{name}\n" for name in listed).encode())
                    written.flush()
                # Stopped between the files, there are rows without names, never with others.
                for file in files:
                    with suppress(DataError):  # a pipe, say, holds no earlier ones
                        store.target(file).unlink(missing_ok=True)
                store.replace(part, place)
            opened: np.memmap[Any, np.dtype[np.float32]] = np.load(place, mmap_mode="r", allow_pickle=False)
            return opened
    except OSError as error:
        raise DataError(
            f"could not write {path}: {error.strerror or error}. What is there goes on from where it is when "
            "there is space."
        ) from error


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


def views(
    network: nn.Module,
    images: Images,
    *,
    layer: str = PENULTIMATE,
    batch_size: int = 32,
) -> list[View]:
    """What a layer can be taken for.

    Parameters
    ----------
    network, images, layer, batch_size
        As for :func:`rarefire.embeddings.extract`.

    Returns
    -------
    list of View
        For a layer without positions, ``features`` alone. For a convolutional one: ``pooled``, channels
        averaged over positions, by the share of images for which that mean is 0; ``channels``, the same
        features by their APoZ, the share of zeros over images and positions (Hu et al. 2016);
        ``positions``, every position of every channel a feature.
    """
    activations = extract(network, images, layer=layer, spatial="keep", batch_size=batch_size)
    poz.check_activations(activations)  # post-ReLU, with positions or without
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
        file = None
        for rows in embedded:
            file = file or opened.enter_context(part.open("ab"))
            if not file.tell():
                facts = {"descr": "<f4", "fortran_order": False, "shape": (n, rows.shape[1])}
                np.lib.format.write_array_header_1_0(file, facts)
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


def _hook(
    network: nn.Module,
    modules: dict[str, nn.Module],
    layer: str,
    inputs: Tensor,
    caught: dict[str, Tensor],
    stack: ExitStack,
) -> None:
    """Have the layer's activations copied to `caught` at each forward pass until `stack` closes."""

    def keep_input(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        caught[layer] = args[0].clone()

    def keep_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        if not isinstance(output, Tensor):
            raise InputError(
                f"the layer {layer!r} returns a {type(output).__name__}, not one tensor. "
                "Name one of the layers inside it."
            )
        caught[layer] = output.clone()

    if layer == PENULTIMATE:
        last = modules[last_weighted(network, inputs)]
        handle = last.register_forward_pre_hook(keep_input)
    else:
        handle = modules[layer].register_forward_hook(keep_output)
    stack.callback(handle.remove)


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
        If there is no such layer.
    """
    calls: list[str] = []
    with ExitStack() as stack:
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                handle = module.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
                stack.callback(handle.remove)
        with torch.inference_mode():
            network(images[:1])
    if not calls:
        raise InputError("the network has no linear or convolutional layer: name a layer= instead.")
    return calls[-1]


def _shape(activations: Tensor, spatial: Spatial) -> Tensor:
    if spatial == "mean" and activations.ndim > 2:
        return activations.flatten(2).mean(2)
    return activations if spatial == "keep" else activations.flatten(1)


def _batches(images: Images, batch_size: int) -> Iterable[NDArray[np.floating] | Tensor]:
    if isinstance(images, Stimuli):
        images = images.images
    if isinstance(images, np.ndarray | Tensor):
        if images.ndim != 4:
            raise InputError(f"images must be (n, c, h, w); got {tuple(images.shape)}.")
        array = images
        return [array[i : i + batch_size] for i in range(0, len(array), batch_size)]
    return images
