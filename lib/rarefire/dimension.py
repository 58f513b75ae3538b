"""How many dimensions the images of a set span in a layer, locally and linearly.

*Intrinsic* dimension is that of the surface that the points lie on, read from how fast neighbours get farther
away: of a point whose n-th and 2n-th neighbour are at r and μ·r, μ is near 1 where there are many dimensions.
*Linear* dimension counts directions of variance; a curved line needs many. None of them is a property of the
layer alone:

* It depends on how many points there are, and saturates: of isotropic Gaussians of 10, 30, 100 and 200
  dimensions, 450 points read about 10, 22, 44 and 67. Compare layers at equal N, by rank, beside how the
  dimension changes with scale (:func:`decimation`, :func:`gride`).
* Its error is not that over samples of 90 % of the images: these share most of their points and all they
  have in common, so that they differ far too little. Halves that share none do better
  (:func:`halves_error`); images drawn again with replacement are duplicates, and say nothing at all.
* Equal points (a dead layer) and equal distances (few values) have no ratio. They are left out and counted.

Two numbers go beside them: how many directions of change around one image a layer can still tell apart
(:func:`jacobian_ranks`), which never grows along a chain of layers, and how nearly orthogonal features or
images are (:func:`quasi_orthogonality`).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from rarefire._engine import blocks, neighbours
from rarefire._engine.arguments import checked
from rarefire.embeddings import layers as layers_of
from rarefire.errors import InputError, unknown
from rarefire.rounding import SAME

__all__ = [
    "LEAST",
    "Estimate",
    "Orthogonality",
    "decimation",
    "gride",
    "halves_error",
    "jacobian_ranks",
    "numerical_rank",
    "participation_ratio",
    "pc_id",
    "quasi_orthogonality",
    "two_nn",
]

#: Fewest points of which a dimension is estimated.
LEAST = 20

_Floats = NDArray[np.float64]
_Method = Literal["fit", "ml"]


@dataclass(frozen=True)
class Estimate:
    """A dimension, and what it is from.

    Attributes
    ----------
    estimator
        Which, with the neighbours that are compared where there is a choice.
    dimension
        ≥ 0; NaN where it is undefined, such as of a constant layer.
    se
        Standard error; NaN where none is known. Each function says what it is from.
    n
        Points that it is from, the dropped not counted.
    dropped
        Reason -> how many were left out: ``duplicates`` (points at no distance from the nearer neighbour),
        ``ties`` (whose two neighbours are equally far), ``constant features``.
    scale
        Mean distance of those points to the farther of the two neighbours; NaN for linear dimensions.
    """

    estimator: str
    dimension: float
    se: float
    n: int
    dropped: dict[str, int]
    scale: float = float("nan")

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval, ``dimension − 1.96·se``, not below 0."""
        return float(np.maximum(self.dimension - 1.96 * self.se, 0))

    @property
    def high(self) -> float:
        """Upper end of it."""
        return self.dimension + 1.96 * self.se


@checked
def two_nn(
    points: ArrayLike, *, method: _Method = "fit", discard: float | None = None, progress: bool = False
) -> Estimate:
    """Intrinsic dimension from the ratio μ of the distances to the second and the first neighbour.

    If the density is even over two neighbours, log μ is exponential with the dimension as its rate.

    Parameters
    ----------
    points
        ``(n_points, n_features)`` in any unit, at least 20: a layer's features of images, or whatever
        :mod:`rarefire.embeddings` opens.
    method
        ``"fit"``: the line through the origin of −log(1 − i/N) on the i-th smallest log μ (Facco et al.
        2017). ``"ml"``: maximum likelihood, without bias where log μ is exponential: (N − 1)/Σ log μ, with
        a share discarded (k − 1)/(Σ log μ_i + (N − k)·log μ_k), the sum over the k smallest.
    discard
        Share of the largest ratios to leave out, in [0, 1); of the fit, above 0. By default 0.1 for the fit
        and none for maximum likelihood.
    progress
        Show a progress bar.

    Returns
    -------
    Estimate
        Duplicates and ties are dropped first, as Ansuini et al. (2019) do. Its ``se`` is that of independent
        exponential log μ; neighbours share their neighbourhoods, so that :func:`halves_error` says more.

    Raises
    ------
    InputError
        For fewer than 20 points, another shape than ``(n_points, n_features)``, NaN or infinite features, and
        for another method or share.

    References
    ----------
    Facco, E., d'Errico, M., Rodriguez, A., & Laio, A. (2017). Estimating the intrinsic dimension of datasets
    by a minimal neighborhood information. *Scientific Reports*, 7, 12140. Ansuini, A., Laio, A., Macke,
    J. H., & Zoccolan, D. (2019). Intrinsic dimension of data representations in deep neural networks.
    *NeurIPS*. Muratore, P., Tafazoli, S., Piasini, E., Laio, A., & Zoccolan, D. (2022). Prune and distill:
    similar reformatting of image information along rat visual cortex and deep neural networks. *NeurIPS*.
    """
    share = _checked_share(method, discard)
    return _two_nn(neighbours.distances(_checked(points), 2, progress=progress), method, share)


@checked
def gride(points: ArrayLike, *, largest: int = 32, progress: bool = False) -> list[Estimate]:
    """Intrinsic dimension at several scales, from the distances to neighbours n and 2n.

    With μ their ratio and d the dimension, the density is d·(μ^d − 1)^(n−1) / (B(n, n)·μ^((2n−1)d + 1)).

    Parameters
    ----------
    points, progress
        As for :func:`two_nn`.
    largest
        n is 1, 2, 4, … up to this, as far as there are 2n neighbours.

    Returns
    -------
    list of Estimate
        One for each n, which its name ends with. Maximum likelihood, with (N − 1)·log d in place of
        N·log d: so it is without bias for n = 1, where it is :func:`two_nn` with ``method="ml"``. No ratio
        is left out for being large. ``se`` is from the observed information, as if points were independent:
        the larger n, the more of its neighbours a point shares with others, and the more it falls short.

    Raises
    ------
    InputError
        As for :func:`two_nn`, and for `largest` below 1.

    References
    ----------
    Denti, F., Doimo, D., Laio, A., & Mira, A. (2022). The generalized ratios intrinsic dimension estimator.
    *Scientific Reports*, 12, 20005.
    """
    if not isinstance(largest, (int, np.integer)) or largest < 1:
        raise InputError(f"largest is a whole number of neighbours, at least 1; got {largest!r}.")
    source = _checked(points)
    most = min(2 * int(largest), source.shape[0] - 1)
    ns = [2**i for i in range(int(np.log2(most)))]
    found = neighbours.distances(source, 2 * ns[-1], progress=progress)
    return [_gride(found[:, n - 1], found[:, 2 * n - 1], n) for n in ns]


@checked
def decimation(
    points: ArrayLike,
    *,
    rng: np.random.Generator,
    method: _Method = "fit",
    discard: float | None = None,
    smallest: int = 50,
    progress: bool = False,
) -> list[Estimate]:
    """How :func:`two_nn` changes with the number of points: of all, of halves, of quarters and so on.

    With fewer points neighbours are farther away, and the dimension is that at a larger scale. What belongs
    to the surface stays, noise around it goes.

    Parameters
    ----------
    points, method, discard, progress
        As for :func:`two_nn`.
    rng
        Divides the points.
    smallest
        Fewest points of a part, at least 20.

    Returns
    -------
    list of Estimate
        For N, N/2, N/4, … points, each the mean over all the parts that the points are divided into, which
        have none in common. ``se`` is the standard error of that mean, from how parts differ: the variance
        over parts, times points per part, in units of the squared dimension, which is pooled over all
        numbers of parts, as two halves alone say next to nothing. NaN where there are too few points for
        halves, and for all where one part is undefined (equal points). ``n`` is the mean number of points
        used of a part, rounded, and ``dropped`` counts those of all parts.

    Raises
    ------
    InputError
        As for :func:`two_nn`, and for `smallest` below 20.
    """
    share = _checked_share(method, discard)
    if smallest < LEAST:
        raise InputError(f"smallest is at least {LEAST} points; got {smallest}.")
    source = blocks.loaded(_checked(points))
    n, order = source.shape[0], rng.permutation(source.shape[0])
    found: list[Estimate] = []
    spread, freedom = 0.0, 0
    parts = 1
    while parts == 1 or n // parts >= smallest:
        each = []
        for rows in np.array_split(order, parts):
            part = source if parts == 1 else blocks.Rows(source, np.sort(rows))
            each.append(_two_nn(neighbours.distances(part, 2, progress=progress), method, share))
        dimensions = np.array([one.dimension for one in each])
        mean = float(dimensions.mean())
        spread += float(((dimensions / mean - 1) ** 2).sum()) / parts
        freedom += parts - 1
        used = round(sum(one.n for one in each) / parts)
        dropped = {reason: sum(one.dropped[reason] for one in each) for reason in each[0].dropped}
        scale = float(np.mean([one.scale for one in each]))
        found.append(Estimate(each[0].estimator, mean, np.nan, used, dropped, scale))
        parts *= 2
    relative = np.sqrt(spread / freedom) if freedom else np.nan
    return [replace(one, se=float(one.dimension * relative)) for one in found]


@checked
def halves_error(
    points: ArrayLike,
    *,
    rng: np.random.Generator,
    estimator: Callable[[Any], Estimate] = two_nn,
    n_splits: int = 10,
) -> float:
    """Standard error of an estimate from all points, by how much it differs between halves of them.

    Parameters
    ----------
    points
        As for :func:`two_nn`, at least 40.
    rng, n_splits
        Divides the points, so often.
    estimator
        Of a half, which is handed over as :class:`rarefire.embeddings.Rows`. Both halves have N/2 points, so
        that what N does to an estimate cancels.

    Returns
    -------
    float
        The root of the mean over splits of (difference/2)², which is the variance of an estimate from twice
        as many points, if variances fall with 1/N. NaN where the estimate is. It is itself uncertain, and
        more splits help but little, as all are of the same points.

    Raises
    ------
    InputError
        As for :func:`two_nn`, for fewer than 40 points, and for fewer than one split.
    """
    if n_splits < 1:
        raise InputError(f"n_splits is at least 1; got {n_splits}.")
    source = blocks.loaded(_checked(points, least=2 * LEAST, what="halves of 20"))
    squares = []
    for _ in range(n_splits):
        order = rng.permutation(source.shape[0])
        first, second = (
            estimator(blocks.Rows(source, np.sort(half))).dimension for half in np.array_split(order, 2)
        )
        squares.append((first - second) ** 2 / 4)
    return float(np.sqrt(np.mean(squares)))


@checked
def pc_id(points: ArrayLike, *, variance: float = 0.9, standardised: bool = True) -> Estimate:
    """Linear dimension: how many principal components hold a share of the variance.

    Parameters
    ----------
    points
        As for :func:`two_nn`.
    variance
        The share, in (0, 1].
    standardised
        Whether every feature is divided by its standard deviation, as Ansuini et al. (2019) do. Constant
        ones, of which that is 0, are left out and counted in ``dropped``.

    Returns
    -------
    Estimate
        A whole number, at most the features and the points less one. NaN for a constant layer.

    Raises
    ------
    InputError
        As for :func:`two_nn`, and for another share.

    References
    ----------
    Ansuini, A., Laio, A., Macke, J. H., & Zoccolan, D. (2019). Intrinsic dimension of data representations
    in deep neural networks. *NeurIPS*.
    """
    if not 0 < variance <= 1:
        raise InputError(f"variance is a share in (0, 1]; got {variance}.")
    centred = _Centred(_checked(points), standardised=standardised)
    reached = np.cumsum(np.linalg.eigvalsh(centred.gram())[::-1].clip(min=0))
    count = np.count_nonzero(reached < (variance - SAME) * reached[-1]) + 1 if reached[-1] else np.nan
    dropped = {"constant features": centred.constant} if standardised else {}
    return Estimate("pc", float(count), np.nan, len(centred), dropped)


@checked
def participation_ratio(points: ArrayLike) -> Estimate:
    """Linear dimension: (Σλ)²/Σλ² of the variances λ along the principal components.

    Parameters
    ----------
    points
        As for :func:`two_nn`.

    Returns
    -------
    Estimate
        From 1, all variance along a line, to the number of features, as much along each. NaN for a constant
        layer.

    Raises
    ------
    InputError
        As for :func:`two_nn`.
    """
    centred = _Centred(_checked(points))
    gram = centred.gram()
    total = float(np.trace(gram))
    ratio = total**2 / float(np.vdot(gram, gram)) if total else np.nan
    return Estimate("participation-ratio", ratio, np.nan, len(centred), {})


@checked
def numerical_rank(points: ArrayLike, *, tolerance: float | None = None) -> Estimate:
    """Linear dimension: how many directions there are in which points differ at all.

    Parameters
    ----------
    points
        As for :func:`two_nn`.
    tolerance
        Singular values of the centred points that are not above this count as 0. By default the largest of
        them times the larger of points and features, times the distance from 1 to the next number of the
        points' precision, as for :func:`numpy.linalg.matrix_rank`: features in single precision have its
        rounding as noise.

    Returns
    -------
    Estimate
        A whole number; 0 for a constant layer.

    Raises
    ------
    InputError
        As for :func:`two_nn`, and for a tolerance below 0.

    Notes
    -----
    Products of features would square the singular values, so that those below 1e-8 of the largest drown in
    rounding. The points are reduced to a triangle with the same ones, block by block.
    """
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance is a singular value, at least 0; got {tolerance}.")
    source = _checked(points)
    centred = _Centred(source)
    sizes = np.linalg.svd(centred.triangle(), compute_uv=False)
    if tolerance is None:
        kind = np.dtype(source.dtype)
        precision = kind if kind.kind == "f" else np.dtype(np.float64)
        tolerance = float(sizes[0]) * max(source.shape) * float(np.finfo(precision).eps)
    return Estimate("rank", float(np.count_nonzero(sizes > tolerance)), np.nan, len(centred), {})


@dataclass(frozen=True)
class Orthogonality:
    """How nearly orthogonal vectors are.

    Attributes
    ----------
    cosine
        Root mean square of the cosine over pairs of them, in [0, 1]; 0 where they are orthogonal, 1 where all
        lie along one line. NaN for fewer than two.
    chance
        What it is for vectors without any relation: 1/√(directions that there are).
    n
        Vectors that are compared.
    dropped
        How many were left out, for having no direction: constant features, images at the mean.
    """

    cosine: float
    chance: float
    n: int
    dropped: int


@checked
def quasi_orthogonality(
    points: ArrayLike, *, of: Literal["features", "images"] = "features"
) -> Orthogonality:
    """How nearly orthogonal the features are as images vary, or the images in the space of features.

    Vectors are *quasi-orthogonal* if the cosines between them are small, of which there can be far more than
    dimensions (Kainen & Kůrková 1993). Zhou et al. (2022) say that this, of features before training, goes
    with accuracy after it; how they measured it is not in the abstract that we read. Here it is the root mean
    square of the cosines, which can be compared with chance exactly.

    Parameters
    ----------
    points
        As for :func:`two_nn`. Of every feature its mean over images is taken off first.
    of
        ``"features"``: the columns; a cosine is then Pearson's correlation of two features over images.
        ``"images"``: the rows, as they differ from the mean image.

    Returns
    -------
    Orthogonality
        Chance is exact for features that are independent and normal, 1/√(n_images − 1), and for as many
        images 1/√n_features, up to what all have in common by having their mean taken off, 1/(n_images − 1).

    Raises
    ------
    InputError
        As for :func:`two_nn`, and for vectors of another kind.

    Notes
    -----
    Of features it is a linear dimension in other terms: with F features and P the participation ratio when
    they are standardised, the squared cosine is (F/P − 1)/(F − 1).

    References
    ----------
    Kainen, P. C., & Kůrková, V. (1993). Quasiorthogonal dimension of Euclidean spaces. *Applied Mathematics
    Letters*, 6, 7–10. Zhou, Q., Gorban, A. N., Mirkes, E. M., Bac, J., Zinovyev, A., & Tyukin, I. Y. (2022).
    Quasi-orthogonality and intrinsic dimensions as measures of learning and generalisation. arXiv:2203.16687.
    """
    if of not in ("features", "images"):
        raise InputError(f"of is 'features' or 'images'; got {of!r}.")
    source = _checked(points)
    n, width = source.shape
    if of == "features":
        centred = _Centred(source, standardised=True)
        vectors, directions = width - centred.constant, n - 1
        squares = float((centred.gram() ** 2).sum()) / n**2  # all pairs, those with themselves too
        dropped = centred.constant
    else:
        directed = _Centred(source).directions()
        vectors, directions, dropped = len(directed), width, n - len(directed)
        small = directed @ directed.T if len(directed) < width else directed.T @ directed
        squares = float((small**2).sum())
    if vectors < 2:
        return Orthogonality(np.nan, float(directions**-0.5), vectors, dropped)
    mean = max(0.0, squares - vectors) / (vectors * (vectors - 1))
    return Orthogonality(float(np.sqrt(mean)), float(directions**-0.5), vectors, dropped)


@checked
def jacobian_ranks(
    network: nn.Module,
    image: NDArray[np.floating],
    *,
    layers: Sequence[str],
    size: int | None = 16,
    tolerance: float = 1e-10,
) -> dict[str, int]:
    """Rank of every layer around one image: how many directions of change in it still change the layer.

    It is the rank of the Jacobian, of a layer's outputs by the pixels, in double precision. By the chain rule
    the Jacobian of a layer is that of what it sees times its own, so that it can never grow along a chain of
    layers. A layer after ReLU cannot have more than as many features as fire for the image.

    Parameters
    ----------
    network
        It is copied. ReLU, pooling and sums have Jacobians wherever no two candidates are equal.
    image
        ``(c, h, w)`` in [0, 1].
    layers
        Names from :func:`rarefire.embeddings.layers`.
    size
        Side of the central square of pixels by which to derive, as Feng et al. (2022) do; all of the image
        where it is no larger, and for None.
    tolerance
        Singular values not above this share of the layer's largest count as 0. One for all layers: the usual
        one, which goes with a matrix's size, would let ranks grow from a wide layer to a narrow one.

    Returns
    -------
    dict
        Layer -> rank, from 0 to the pixels (times channels) of the square.

    Raises
    ------
    UnknownNameError
        If a layer does not exist; the message lists those that do.
    InputError
        For an image that is not ``(c, h, w)`` and finite, for a size that is not a positive whole number or a
        tolerance outside [0, 1), and for a layer that is not used.

    Notes
    -----
    Of LeNets singular values end between 1e-6 and 1 of the largest, and what is below 1e-14 is rounding: any
    tolerance in between gives the same ranks. Of deep networks they fall without a gap.

    References
    ----------
    Feng, R., Zheng, K., Huang, Y., Zhao, D., Jordan, M., & Zha, Z.-J. (2022). Rank diminishing in deep neural
    networks. *NeurIPS*.
    """
    pixels = np.asarray(image, dtype=np.float64)
    if pixels.ndim != 3 or not np.isfinite(pixels).all():
        raise InputError(f"image is one of (channels, height, width), finite; got shape {pixels.shape}.")
    if size is not None and (not isinstance(size, (int, np.integer)) or size < 1):
        raise InputError(f"size is a side in pixels, at least 1, or None for all; got {size!r}.")
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance is a share of the largest singular value, in [0, 1); got {tolerance}.")
    found = {}
    for layer, matrix in _jacobians(network, pixels, layers, size).items():
        sizes = np.linalg.svd(matrix[matrix.any(axis=1)], compute_uv=False)
        found[layer] = int(np.count_nonzero(sizes > tolerance * sizes[0])) if len(sizes) else 0
    return found


def _jacobians(
    network: nn.Module, pixels: _Floats, layers: Sequence[str], size: int | None
) -> dict[str, _Floats]:
    """By layer ``(n_features, n_pixels)``: every layer's change with each pixel of the central square."""
    model = copy.deepcopy(network).to("cpu", torch.float64).eval().requires_grad_(False)
    modules = dict(model.named_modules())
    for layer in layers:
        if layer not in modules or not layer:
            raise unknown("layer", layer, layers_of(network))
    caught: dict[str, Tensor] = {}
    for layer in layers:

        def keep(_module: nn.Module, _inputs: Any, output: Tensor, layer: str = layer) -> None:
            caught[layer] = output.flatten().clone()  # what comes next may work in its place

        modules[layer].register_forward_hook(keep)

    def outputs(x: Tensor) -> dict[str, Tensor]:
        caught.clear()
        model(x[None])
        return dict(caught)

    whole = torch.from_numpy(pixels)
    missing = [layer for layer in layers if layer not in outputs(whole)]
    if missing:
        raise InputError(f"the layer {missing[0]!r} exists but is not used in a forward pass.")
    inside = np.zeros(pixels.shape, dtype=bool)
    rows, columns = (
        slice((side - kept) // 2, (side - kept) // 2 + kept)
        for side in pixels.shape[1:]
        for kept in [min(size or side, side)]
    )
    inside[:, rows, columns] = True
    places = torch.from_numpy(np.flatnonzero(inside))
    directions = torch.zeros(len(places), pixels.size, dtype=torch.float64)
    directions[torch.arange(len(places)), places] = 1

    def along(direction: Tensor) -> dict[str, Tensor]:
        changed: dict[str, Tensor] = torch.func.jvp(outputs, (whole,), (direction,))[1]
        return changed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, on its first derivative forwards
        found = torch.func.vmap(along, chunk_size=64)(directions.reshape(-1, *pixels.shape))
    return {layer: found[layer].numpy().T for layer in layers}


# --- nonlinear -----------------------------------------------------------------------------------


def _log_ratios(near: _Floats, far: _Floats) -> tuple[_Floats, dict[str, int], float]:
    """Logarithms of the distances' ratios, how many have none, and the mean of the farther distances."""
    apart = near > 0
    logs = np.log(far[apart] / near[apart])
    defined = logs > SAME
    dropped = {"duplicates": len(near) - len(logs), "ties": len(logs) - int(defined.sum())}
    scale = float(far[apart][defined].mean()) if defined.any() else np.nan
    return logs[defined], dropped, scale


def _two_nn(distances: _Floats, method: _Method, discard: float) -> Estimate:
    logs, dropped, scale = _log_ratios(distances[:, 0], distances[:, 1])
    n, name = len(logs), "two-nn" if method == "fit" else "two-nn-ml"
    kept = int(n * (1 - discard))
    if kept < 2:
        return Estimate(name, np.nan, np.nan, n, dropped, scale)
    x = np.sort(logs)[:kept]
    if method == "ml":
        dimension = (kept - 1) / (x.sum() + (n - kept) * x[-1])
        return Estimate(name, float(dimension), float(dimension / np.sqrt(kept)), n, dropped, scale)
    y = -np.log1p(-np.arange(1, kept + 1) / n)
    dimension = float(x @ y / (x @ x))
    # The i-th smallest of n exponentials is a sum of independent ones, of means 1/n, 1/(n − 1), …: what
    # each of these adds to the slope, to first order.
    shares = y[::-1].cumsum()[::-1] / np.arange(n, n - kept, -1)
    relative = np.sqrt(shares @ shares) / (y @ y)
    return Estimate(name, dimension, float(dimension * relative), n, dropped, scale)


def _gride(near: _Floats, far: _Floats, n: int) -> Estimate:
    from scipy.optimize import brentq

    logs, dropped, scale = _log_ratios(near, far)
    name, size = f"gride-{n}", len(logs)
    if size < 2:
        return Estimate(name, np.nan, np.nan, size, dropped, scale)
    total = logs.sum()

    def score(d: float) -> float:
        of_excess = (logs / -np.expm1(-d * logs)).sum() if n > 1 else 0.0
        return float((size - 1) / d + (n - 1) * of_excess - (2 * n - 1) * total)

    # It falls from infinity towards −n·total. Where n = 1 its root is (N − 1)/total, and with more
    # neighbours not far from it.
    low = high = (size - 1) / total
    while score(low) < 0:
        low /= 2
    while score(high) > 0:
        high *= 2
    d = brentq(score, low, high, xtol=1e-13 * low, rtol=1e-13) if low < high else low
    waning = np.exp(-d * logs)
    information = size / d**2 + (n - 1) * (logs**2 * waning / np.expm1(-d * logs) ** 2).sum()
    return Estimate(name, float(d), float(1 / np.sqrt(information)), size, dropped, scale)


# --- linear --------------------------------------------------------------------------------------


class _Centred:
    """Points less their mean, of which only blocks are in memory."""

    def __init__(self, source: Any, *, standardised: bool = False) -> None:
        n, width = source.shape
        self._wide = n < width
        self._source = blocks.loaded(source) if self._wide else source
        # Differences from one of the points are exactly 0 where a feature is constant.
        self._first = np.asarray(blocks.read(source, slice(0, 1)))[0].astype(np.float64)
        total, squares, largest = np.zeros(width), np.zeros(width), np.zeros(width)
        for rows in blocks.spans(source, elements=2**22):
            block = np.subtract(blocks.read(source, rows), self._first, dtype=np.float64)
            total += block.sum(axis=0)
            squares += np.einsum("ij,ij->j", block, block)
            np.maximum(largest, np.abs(block).max(axis=0), out=largest)
        self._mean = total / n
        varies = largest > SAME * np.maximum(np.abs(self._first), largest)
        self.constant = int(width - varies.sum())
        self._divide: _Floats | None = None
        if standardised:
            sd = np.sqrt(np.maximum(squares / n - self._mean**2, 0))
            self._divide = np.divide(1, sd, out=np.zeros(width), where=varies & (sd > 0))

    def __len__(self) -> int:
        return int(self._source.shape[0])

    def gram(self) -> _Floats:
        """Products of features by features or of points by points, whichever is smaller."""
        size = min(self._source.shape)
        found = np.zeros((size, size))
        for part in self._pieces():
            found += part.T @ part
        return found

    def directions(self) -> _Floats:
        """The points, each divided by its length; without those that lie at the mean, up to rounding."""
        whole = np.concatenate(list(self._pieces()), axis=0)
        whole = whole.T if self._wide else whole
        lengths = np.linalg.norm(whole, axis=1)
        scale = np.linalg.norm(np.maximum(np.abs(self._first), np.abs(self._first + self._mean)))
        away = lengths > SAME * max(float(scale), float(lengths.max()))
        return np.asarray(whole[away] / lengths[away, None])

    def triangle(self) -> _Floats:
        """``(m, m)`` at most, with the singular values of the centred points."""
        found = np.zeros((0, min(self._source.shape)))
        for part in self._pieces():
            found = np.asarray(np.linalg.qr(np.concatenate([found, part]), mode="r"))
        return found

    def _spans(self) -> list[slice]:
        """Of features where there are fewer points, else of points; as many as the others, or more."""
        n, width = self._source.shape
        length, other = (width, n) if self._wide else (n, width)
        step = max(other, 2**22 // other)
        return [slice(i, min(i + step, length)) for i in range(0, length, step)]

    def _pieces(self) -> Iterator[_Floats]:
        for part in self._spans():
            features = part if self._wide else slice(None)
            given = self._source[:, part] if self._wide else blocks.read(self._source, part)
            block = np.subtract(given, self._first[features], dtype=np.float64)
            block -= self._mean[features]
            if self._divide is not None:
                block *= self._divide[features]
            yield block.T if self._wide else block


# --- what is asked for ---------------------------------------------------------------------------


def _checked(points: ArrayLike, *, least: int = LEAST, what: str = "intrinsic dimension") -> Any:
    source = blocks.check_source(points, least=0)
    n = source.shape[0]
    if n < least:
        needs = "a dimension needs" if least == LEAST else f"{what} points need"
        raise InputError(f"{needs} at least {least} points; got {n}. Show the network more images.")
    return source


def _checked_share(method: str, discard: float | None) -> float:
    if method not in ("fit", "ml"):
        raise InputError(f"method is 'fit' or 'ml'; got {method!r}.")
    share = (0.1 if method == "fit" else 0.0) if discard is None else discard
    if not 0 <= share < 1 or (method == "fit" and not share):
        lowest = "(0, 1): the largest ratio has no −log(1 − i/N)" if method == "fit" else "[0, 1)"
        raise InputError(f"discard is a share in {lowest}; got {share}.")
    return share
