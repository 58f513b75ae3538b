"""What images look like, in whole or in the windows that units of a convolution see: low-level properties.

Light, contrast, orientation, spectrum and colour, each a number for an image or a window, to ask what a unit
knows of them (:func:`rarefire.units.information`). A unit's *window* is its receptive field, taken as flat:
every pixel in it counts the same. It is part of the image only: padding is not counted.

========================  ==========================================================================
``luminance``             mean grey level in [0, 1], 1 for a white field; weights of ITU-R BT.601
``contrast``              standard deviation of the grey level, in [0, 0.5]
``energy_0`` … ``_135``   mean squared slope (grey levels per pixel, by central differences over the
                          whole image) of pixels whose stripes or edges lie within 22.5° of
                          horizontal, rising, vertical and falling; together, all of the slope's
``spectral_slope``        of log power on log radial frequency: of noise with amplitude 1/f^a it is
                          −2a, of large natural scenes around −2; from 8 × 8 pixels on, Hann's taper
``red_green``             mean of R − G, in [−1, 1]; no such thing for images of one channel
``blue_yellow``           mean of B − (R + G)/2, in [−1, 1]; likewise
========================  ==========================================================================

References
----------
Field DJ (1987). Relations between the statistics of natural images and the response properties of cortical
cells. Journal of the Optical Society of America A 4, 2379–2394.
Muratore P, Tafazoli S, Piasini E, Laio A, Zoccolan D (2022). Prune and distill: similar reformatting of image
information along rat visual cortex and deep neural networks. NeurIPS 35.
Tafazoli S, Safaai H, De Franceschi G, et al. (2017). Emergence of transformation-tolerant representations of
visual objects in rat lateral extrastriate cortex. eLife 6, e22794 (luminance and contrast in a window).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from rarefire._engine.arguments import checked
from rarefire.embeddings import layers
from rarefire.errors import InputError, unknown
from rarefire.rounding import SAME

__all__ = ["NAMES", "ReceptiveField", "properties", "receptive_field", "samples", "windowed"]

#: All properties there are; the last two are those of images in colour.
NAMES = (
    *("luminance", "contrast", "energy_0", "energy_45", "energy_90", "energy_135"),
    *("spectral_slope", "red_green", "blue_yellow"),
)
_ENERGIES, _COLOUR = NAMES[2:6], NAMES[-2:]
_LEAST = 8  # pixels, of a side for which a spectrum is worth a line
_GREY = (0.299, 0.587, 0.114)
_CHUNK = 2**20  # pixels in a working array
_CHECKED = 8  # units along a side, whose windows are compared with what is said of all


@checked
def properties(
    images: NDArray[np.floating] | Tensor, *, names: Iterable[str] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Low-level properties of whole images.

    Parameters
    ----------
    images
        ``(n, c, h, w)`` in [0, 1], of one channel or of three (R, G, B).
    names
        Of :data:`NAMES`; by default all that these images have.

    Returns
    -------
    dict
        By name, ``(n,)``. The slope is NaN for an image without power at some frequency, such as a uniform
        one, and for images of fewer than 8 pixels on a side.

    Raises
    ------
    InputError
        For images that are not as above, and for colour of images that have none.
    UnknownNameError
        For a property that does not exist.
    """
    pixels = _check_images(images)
    found = windowed(pixels, size=pixels.shape[2:], names=names)
    return {name: values[:, 0, 0] for name, values in found.items()}


@checked
def windowed(
    images: NDArray[np.floating] | Tensor,
    *,
    size: int | tuple[int, ...],
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    positions: tuple[int, int] | None = None,
    names: Iterable[str] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Low-level properties in every window of the images, as a convolution goes over them.

    Parameters
    ----------
    images
        ``(n, c, h, w)`` in [0, 1], of one channel or of three.
    size, stride, padding
        Pixels, one number or (height, width), as of ``torch.nn.Conv2d``; a whole layer's are those of
        :func:`receptive_field`. The window at position (i, j) starts at pixel ``i · stride − padding``.
    positions
        (rows, columns) of windows; by default as many as are in the image with its padding.
    names
        Of :data:`NAMES`; by default all that these images have. All but the slope take as long as a few
        products of matrices; the slope takes a Fourier transform of every window.

    Returns
    -------
    dict
        By name, ``(n, rows, columns)``: of the part of the window that is in the image. The slope is NaN
        where that part has fewer than 8 pixels on a side, or no power at some frequency.

    Raises
    ------
    InputError
        For images that are not as above, windows that are not positive numbers of pixels or that lie outside
        the image, and for colour of images that have none.
    UnknownNameError
        For a property that does not exist.
    """
    pixels = _check_images(images)
    wanted = _check_names(names, pixels.shape[1])
    sides = pixels.shape[2:]
    extents, steps, outside = (
        _pair(name, value, least=least)
        for name, value, least in (("size", size, 1), ("stride", stride, 1), ("padding", padding, 0))
    )
    if positions is None:
        spans = zip(sides, extents, steps, outside, strict=True)
        counts = tuple((side + 2 * out - extent) // step + 1 for side, extent, step, out in spans)
    else:
        counts = _pair("positions", positions, least=1)
    ends = []
    for side, extent, step, out, count in zip(sides, extents, steps, outside, counts, strict=True):
        start = np.arange(count) * step - out
        start, stop = np.maximum(start, 0), np.minimum(start + extent, side)
        if not count > 0 or (stop <= start).any():
            raise InputError(
                f"windows of {extents} pixels, stride {steps}, padding {outside}, at {counts} positions, "
                f"must each have pixels of the images, which have {sides}."
            )
        ends.append((start, stop))
    at_once = max(1, _CHUNK // (sides[0] * sides[1]))
    parts = [
        _windowed(pixels[start : start + at_once].astype(np.float64), ends, wanted)
        for start in range(0, len(pixels), at_once)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in NAMES if name in wanted}


@dataclass(frozen=True)
class ReceptiveField:
    """Which pixels the units of a layer see; the fields are arguments of :func:`windowed`.

    Attributes
    ----------
    size, stride, padding
        (height, width), pixels: those of one convolution that would see as much.
    positions
        (rows, columns) of units.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    positions: tuple[int, int]


def receptive_field(network: nn.Module, layer: str, input_shape: tuple[int, int, int]) -> ReceptiveField:
    """Which pixels the units of a convolutional layer see: measured, for any layers and branches in between.

    Pixels that are no number make every output that sees them none, whatever weights and activations are
    between. Where windows start is found by halves for two units, where they end for one, on larger images
    where windows do not fit in one; then the windows of all units are compared with what that says.

    Parameters
    ----------
    network
        It is copied and called in double precision, whose convolutions mix nothing but what is in a window.
    layer
        A name from :func:`rarefire.embeddings.layers`; its output has positions, ``(n, c, h, w)``. Where
        branches meet, the window holds those of all of them.
    input_shape
        Channels, height, width of the images.

    Returns
    -------
    ReceptiveField

    Raises
    ------
    UnknownNameError
        If the layer does not exist; the message lists those that do.
    InputError
        If the layer has no positions, sees everything (as behind global pooling), or has windows that are not
        a fixed size and step apart.
    """
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        raise unknown("layer", layer, layers(network))
    probe = _Probe(network, layer, input_shape)
    # What a layer pads along one side may depend on the other, and there are kernels that need a longer one.
    for narrow in (True, False):
        probe.narrow = narrow
        with suppress(RuntimeError):
            size, stride, padding = zip(_edges(probe, 0), _edges(probe, 1), strict=True)
            field = ReceptiveField(size, stride, padding, probe.positions)
            if _holds(probe, field):
                return field
    raise InputError(
        f"the units of {layer!r} do not see windows of a fixed size and step: a layer before it depends on "
        "the size of the image, as adaptive pooling does."
    )


@checked
def samples(
    activation: ArrayLike,
    windows: Mapping[str, ArrayLike],
    *,
    n_samples: int,
    rng: np.random.Generator,
) -> tuple[NDArray[Any], dict[str, NDArray[np.float64]]]:
    """Pairs of what a layer's channels answer at a position and what is in the window there.

    All positions are taken for samples of one channel, at most `n_samples` of them, drawn as evenly over
    images as can be. With no more samples than images, no image gives two: they are as independent as the
    images, as tests require (:func:`rarefire.units.information_test`). With more, estimates are better but
    permutations too sure.

    Parameters
    ----------
    activation
        ``(n, n_channels, h, w)``, from ``embeddings.extract(…, spatial="keep")``.
    windows
        By name, ``(n, h, w)``, from :func:`windowed`.
    n_samples
        At least 1.
    rng
        Draws positions and images.

    Returns
    -------
    activations, properties
        ``(n_samples, n_channels)``, for :func:`rarefire.units.responses`, and by name ``(n_samples,)``; fewer
        where there are not so many. NaN (a slope) stays NaN: leave those out.

    Raises
    ------
    InputError
        For shapes that do not go together, and for no samples.
    """
    given = np.asarray(activation)
    if given.ndim != 4 or not given.size:
        raise InputError(f"activation must be (n_images, n_channels, h, w); got {given.shape}.")
    own = {name: np.asarray(values, dtype=np.float64) for name, values in windows.items()}
    n, n_channels, *grid = given.shape
    for name, values in own.items():
        if values.shape != (n, *grid):
            raise InputError(f"{name} must be {(n, *grid)}, as the activation is; got {values.shape}.")
    if not isinstance(n_samples, (int, np.integer)) or n_samples < 1:
        raise InputError(f"n_samples must be a whole number, at least 1; got {n_samples!r}.")
    each = grid[0] * grid[1]
    per_image = min(each, -(-int(n_samples) // n))
    place = np.stack([rng.choice(each, per_image, replace=False) for _ in range(n)])
    # All but the last round have every image; the last as many as are still wanted.
    image = np.concatenate([rng.permutation(n) for _ in range(per_image)])[:n_samples]
    position = place[image, np.arange(len(image)) // n]
    answers = given.reshape(n, n_channels, each)[image, :, position]
    return answers, {name: values.reshape(n, each)[image, position] for name, values in own.items()}


class _Probe:
    """Which units of a layer see which pixels."""

    def __init__(self, network: nn.Module, layer: str, input_shape: tuple[int, int, int]) -> None:
        self._network, self.layer = copy.deepcopy(network).cpu().double().eval(), layer
        self.shape = input_shape
        dict(self._network.named_modules())[layer].register_forward_hook(self._stop)
        self.positions: tuple[int, int] = self._run(torch.zeros(1, *input_shape, dtype=torch.double))
        self.narrow = False  # images, along the side that is not probed: that takes less time
        self._narrow = self._narrowest()

    def sees(self, axis: int, parts: list[slice], *, factor: int = 1) -> NDArray[np.bool_]:
        """``(n_parts, positions)``, for parts of rows (0) or columns (1); images so many times as large."""
        sides = list(self._narrow) if self.narrow else [factor * side for side in self.shape[1:]]
        sides[axis] = factor * self.shape[1 + axis]
        seen = []
        for part in parts:
            image = torch.zeros(1, self.shape[0], *sides, dtype=torch.double)
            image.movedim(2 + axis, 0)[part] = torch.nan
            self._run(image)
            seen.append(self._blind.any(dim=1 - axis).numpy())
        return np.stack(seen)

    def _narrowest(self) -> list[int]:
        """Height and width, each as small as can be where the other is probed."""
        for part in (8, 4, 2):
            sides = [side // part for side in self.shape[1:]]
            with suppress(RuntimeError):  # too small for a kernel
                if min(self._run(torch.zeros(1, self.shape[0], *sides, dtype=torch.double))) > 0:
                    return sides
        return list(self.shape[1:])

    def _run(self, image: Tensor) -> tuple[int, int]:
        try:
            with torch.inference_mode():
                self._network(image)
        except _ReachedError:
            height, width = self._blind.shape
            return height, width
        raise InputError(f"the network does not use its layer {self.layer!r}.")

    def _stop(self, _: nn.Module, __: tuple[Tensor, ...], output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(f"the layer {self.layer!r} has no positions: expected (n, c, h, w), got {what}.")
        self._blind = output[0].isnan().any(dim=0)
        raise _ReachedError


class _ReachedError(Exception):
    """The layer has been called; the others need not be."""


def _edges(probe: _Probe, axis: int) -> tuple[int, int, int]:
    """Size, stride and padding along rows or columns."""
    for factor in (1, 2, 4, 8, 16) if probe.narrow else (1, 2):  # whole images take memory
        # A step may leave the last pixels to no unit: from either side up to the first pixel that is seen.
        ends = [
            _end(probe, axis, factor, last, _unseen(probe, axis, factor, last) + 1) for last in (False, True)
        ]
        starts, stops = (np.flatnonzero(~seen).tolist() for seen in probe.sees(axis, ends, factor=factor))
        if len(starts) > 1 and stops:
            break
    else:
        raise InputError(
            f"the units of {probe.layer!r} see the whole image, also one of {factor} times the size: ask "
            "for the properties of whole images."
        )
    middle = (len(starts) - 1) // 2
    first, following = (_unseen(probe, axis, factor, 0, i) for i in starts[middle : middle + 2])
    stride, one = following - first, stops[len(stops) // 2]
    padding = starts[middle] * stride - first
    stop = factor * probe.shape[1 + axis] - _unseen(probe, axis, factor, 1, one)
    return stop - (one * stride - padding), stride, padding


def _unseen(probe: _Probe, axis: int, factor: int, last: int, of: int | slice = slice(None)) -> int:
    """How many pixels some units do not see, from the first on or up to the last."""

    def blind(k: int) -> bool:
        return bool(probe.sees(axis, [_end(probe, axis, factor, last, k)], factor=factor)[0, of].any())

    return _last(lambda k: not blind(k), factor * probe.shape[1 + axis])


def _end(probe: _Probe, axis: int, factor: int, last: int, k: int) -> slice:
    """The first `k` pixels, or the last."""
    whole = factor * probe.shape[1 + axis]
    return slice(whole - k, whole) if last else slice(0, k)


def _holds(probe: _Probe, field: ReceptiveField) -> bool:
    """Whether the units of the layer see what is said, on images as they are."""
    probe.narrow, holds = False, True
    for axis, side in enumerate(probe.shape[1:]):
        start = np.arange(field.positions[axis]) * field.stride[axis] - field.padding[axis]
        stop = start + field.size[axis]
        some = np.unique(np.linspace(0, len(start) - 1, _CHECKED).astype(int))
        firsts = [cut for cut in start[some] + 1 if 0 < cut < side]
        lasts = [cut for cut in stop[some] - 1 if 0 < cut < side]
        parts = [*(slice(0, cut) for cut in firsts), *(slice(cut, side) for cut in lasts)]
        said = [*(start < cut for cut in firsts), *(stop > cut for cut in lasts)]
        holds = holds and bool((probe.sees(axis, parts) == np.stack(said)).all())
    return holds


def _last(holds: Callable[[int], bool], upto: int) -> int:
    """The greatest number below `upto` for which something holds that holds for all smaller ones, and 0."""
    low, high = 0, upto
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _windowed(
    pixels: NDArray[np.float64], ends: list[tuple[NDArray[np.intp], NDArray[np.intp]]], wanted: set[str]
) -> dict[str, NDArray[np.float64]]:
    """Properties of some images; `ends` are the first pixel of every window and that after its last."""
    rows, columns = (
        ((start[:, None] <= np.arange(side)) & (np.arange(side) < stop[:, None])).astype(np.float64)
        for side, (start, stop) in zip(pixels.shape[2:], ends, strict=True)
    )
    inside = np.outer(rows.sum(axis=1), columns.sum(axis=1))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over each window, of a number for each pixel."""
        return np.asarray(rows @ values @ columns.T / inside)

    found = {}
    grey = np.tensordot(pixels, _GREY, axes=(1, 0)) if pixels.shape[1] == 3 else pixels[:, 0]
    if wanted & {"luminance", "contrast"}:
        found["luminance"], square = mean(grey), mean(grey**2)
        variance = square - found["luminance"] ** 2
        found["contrast"] = np.sqrt(np.where(variance > SAME * square, variance, 0))
    if wanted & {*_ENERGIES}:
        energy, orientation = _edges_of(grey)
        found |= {name: mean(np.where(orientation == k, energy, 0)) for k, name in enumerate(_ENERGIES)}
    if "spectral_slope" in wanted:
        found["spectral_slope"] = np.empty((len(pixels), *inside.shape))
        down, across = ([slice(*each) for each in zip(*axis, strict=True)] for axis in ends)
        for i, j in np.ndindex(*inside.shape):
            found["spectral_slope"][:, i, j] = _spectral_slope(grey[:, down[i], across[j]])
    if wanted & {*_COLOUR}:
        red, green, blue = pixels.transpose(1, 0, 2, 3)
        found |= {"red_green": mean(red - green), "blue_yellow": mean(blue - (red + green) / 2)}
    return found


def _edges_of(grey: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Squared slope at each pixel, and the orientation of its edge, in steps of 45° up from horizontal."""
    slopes = [np.gradient(grey, axis=a) if grey.shape[a] > 1 else np.zeros_like(grey) for a in (1, 2)]
    down, across = (np.where(np.abs(slope) > SAME, slope, 0) for slope in slopes)
    # An edge is a quarter turn from where it is steepest; rows count downwards.
    turned = np.arctan2(-down, across) + np.pi / 2
    return down**2 + across**2, np.rint(turned / (np.pi / 4)).astype(np.intp) % 4


def _spectral_slope(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each image ``(n, h, w)``: a line through rings of one frequency each, which count the same.

    From 2 periods per shorter side on: with its taper, the mean that is taken off reaches to below that.
    """
    n, *sides = grey.shape
    least = min(sides)
    if least < _LEAST:
        return np.full(n, np.nan)
    taper = np.outer(*(np.hanning(side + 2)[1:-1] for side in sides))
    level = (grey * taper).sum(axis=(1, 2), keepdims=True) / taper.sum()
    power = np.abs(np.fft.fft2((grey - level) * taper)).reshape(n, -1) ** 2
    radius = least * np.hypot(*np.meshgrid(*map(np.fft.fftfreq, sides), indexing="ij")).ravel()
    ring = np.ceil(radius - 0.5 - SAME).astype(np.intp)
    which = np.arange(2, least // 2 + 1)
    mean = np.stack([power[:, ring == k].mean(axis=1) for k in which], axis=1)
    enough = mean > SAME**2 * taper.size * ((grey * taper) ** 2).sum(axis=(1, 2))[:, None]
    x = np.log(which) - np.log(which).mean()
    y = np.log(mean, out=np.full(mean.shape, np.nan), where=enough)
    return np.asarray(y @ x / (x @ x))


def _check_images(images: NDArray[np.floating] | Tensor) -> NDArray[Any]:
    pixels = np.asarray(images)
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or not pixels.size:
        raise InputError(
            f"images must be (n, c, h, w), one at least, of one channel or three; got {pixels.shape}."
        )
    if not (pixels.dtype.kind in "fb" and pixels.min() >= 0 and pixels.max() <= 1):
        raise InputError(
            f"images must hold numbers in [0, 1]; got {pixels.dtype} from {pixels.min()} to {pixels.max()}."
        )
    return pixels


def _check_names(names: Iterable[str] | None, n_channels: int) -> set[str]:
    there = [name for name in NAMES if n_channels == 3 or name not in _COLOUR]
    wanted = there if names is None else list(names)
    for name in wanted:
        if name not in NAMES:
            raise unknown("property", name, there)
        if name not in there:
            raise InputError(f"{name} is of images in colour; these have one channel.")
    return set(wanted)


def _pair(name: str, value: int | tuple[int, ...], *, least: int) -> tuple[int, int]:
    """(height, width)."""
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(both) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in both):
        raise InputError(
            f"{name} must be one or two whole numbers (height, width), at least {least}; got {value!r}."
        )
    return int(both[0]), int(both[1])
