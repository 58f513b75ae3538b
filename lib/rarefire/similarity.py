"""How alike a layer is in two networks that see the same images.

All measures but the canonical correlations need no more of two layers than three kinds of sums. With the
features centred over images, K = XXᵀ and L = YYᵀ, these are tr KL, Σ k_ii l_ii and the traces, for each
layer with itself and with the other (``_Moments``). A correlation or cosine RDM is half the squared
distances of unit vectors, so that their correlation needs the same sums, of the unit vectors, as CKA does
of the features. tr KL = ‖XᵀY‖² is had from images by images or from features by features, whichever is
smaller; the latter add up over batches (:class:`Pair`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire import embeddings
from rarefire._engine.arguments import checked
from rarefire.errors import InputError, unknown
from rarefire.rdm import unit_vectors
from rarefire.rounding import SAME, TIE
from rarefire.stimuli import Stimuli

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

__all__ = ["MEASURES", "OF_GRAMS", "Grams", "Pair", "chance", "cka", "compare", "layers", "svcca"]

MEASURES = ("pearson", "cosine", "cka", "cca")
#: Those that need no more of a layer than images by images.
OF_GRAMS = MEASURES[:3]

_Floats = NDArray[np.float64]
_Metric = Literal["correlation", "cosine"]
_Units = tuple[_Floats, NDArray[np.bool_]]  # products of unit vectors, and which images have one
_METRICS: dict[str, _Metric] = {"pearson": "correlation", "cosine": "cosine"}


@checked
def compare(first: ArrayLike, second: ArrayLike, *, measures: Sequence[str] = MEASURES) -> dict[str, float]:
    """How alike one layer is in two networks, by several measures.

    Parameters
    ----------
    first, second
        ``(n_images, n_features)`` or ``(n_images, channels, height, width)``, the same images in the same
        order, at least four. Their widths may differ; for ``"cca"``, not the number of positions.
    measures
        Of :data:`MEASURES`. ``"pearson"``, ``"cosine"``: R² of the two RDMs, by correlation and by
        cosine, every position a feature; images without a similarity in either layer (silent ones) are
        left out. ``"cka"``: as :func:`cka`. ``"cca"``: as :func:`svcca`.

    Returns
    -------
    dict
        Measure -> value, in the order of `measures`. All are 1 for a layer and itself. NaN where a measure
        is undefined: a layer is constant or dead, its RDM is, or fewer than three images are left.

    Raises
    ------
    InputError
        For shapes that do not fit, fewer than four images, or NaN or infinite features.
    UnknownNameError
        For another measure.
    """
    for measure in measures:
        if measure not in MEASURES:
            raise unknown("measure", measure, list(MEASURES))
    x, y = _checked(first, second)
    a, b = (_Images(rows) for rows in _by_image(x, y))
    features = functools.cache(lambda: _of_images(a, b))
    found = {}
    for measure in measures:
        if measure == "cka":
            found[measure] = features()._moments().cka()
        elif measure == "cca":
            found[measure] = (features() if x.ndim == y.ndim == 2 else _sums(*_by_position(x, y))).svcca()
        else:
            found[measure] = _r2(_of_units(a, b, _METRICS[measure]))
    return found


@checked
def cka(first: ArrayLike, second: ArrayLike, *, debiased: bool = True) -> float:
    """Linear centred kernel alignment of two layers, every position a feature.

    Parameters
    ----------
    first, second
        As for :func:`compare`.
    debiased
        From the unbiased estimate of HSIC, which is 0 on average for independent features. The plain one
        (Kornblith et al. 2019) grows towards 1 with the number of features, whatever these are.

    Returns
    -------
    float
        1 for layers that are alike up to rotation and scale. Debiased, it can come out below 0; it is not
        clipped. NaN where a layer is constant or, debiased, no two images of it have anything in common.

    References
    ----------
    Song, L., Smola, A., Gretton, A., Bedo, J., & Borgwardt, K. (2012). Feature selection via dependence
    maximization. *JMLR*, 13, 1393–1434. Kornblith, S., Norouzi, M., Lee, H., & Hinton, G. (2019).
    Similarity of neural network representations revisited. *ICML*. Nguyen, T., Raghu, M., & Kornblith, S.
    (2021). Do wide and deep networks learn the same things? *ICLR*.
    """
    return _sums(*_by_image(*_checked(first, second)))._moments().cka(debiased=debiased)


@checked
def svcca(first: ArrayLike, second: ArrayLike, *, variance: float = 0.99) -> float:
    """Mean canonical correlation of two layers' directions of largest variance.

    Parameters
    ----------
    first, second
        As for :func:`compare`. Of convolutional layers the channels are correlated, over images and
        positions.
    variance
        Share of each layer's variance that its directions must reach, in (0, 1].

    Returns
    -------
    float
        In [0, 1]: the mean over as many correlations as the smaller of the two has directions. It is far
        above 0 for independent layers (:func:`chance`). NaN where a layer is constant.

    References
    ----------
    Raghu, M., Gilmer, J., Yosinski, J., & Sohl-Dickstein, J. (2017). SVCCA: Singular vector canonical
    correlation analysis for deep learning dynamics and interpretability. *NeurIPS*.
    """
    _check_variance(variance)
    return _sums(*_by_position(*_checked(first, second)), variance=variance).svcca()


@checked
def chance(
    n: int, first: int, second: int, *, rng: np.random.Generator, n_draws: int = 20
) -> tuple[float, float]:
    """Mean canonical correlation of layers that have nothing to do with each other.

    Parameters
    ----------
    n
        Independent rows: images.
    first, second
        Directions that are correlated: the layers' widths, or what :func:`svcca` keeps of them.
    rng, n_draws
        Source of randomness, and how often two layers are drawn, at least twice.

    Returns
    -------
    mean, sd
        Of the mean canonical correlation of independent Gaussians, over draws.

    Notes
    -----
    After centring, both span random subspaces of n − 1 dimensions. One of them may be fixed, and of the
    other only the parts within and across it count, whose sums of squares are Wishart matrices. These
    are drawn as triangles (Bartlett's decomposition): the time needed does not depend on `n`.

    Raises
    ------
    InputError
        For numbers below those above.
    """
    if n < 4 or min(first, second) < 1 or n_draws < 2:
        raise InputError(
            "chance needs n >= 4 rows, widths >= 1 and n_draws >= 2; "
            f"got n={n}, {first} and {second}, n_draws={n_draws}."
        )
    small, large = sorted(min(width, n - 1) for width in (first, second))
    means = []
    for _ in range(n_draws):
        within, across = _root_wishart(small, large, rng), _root_wishart(small, n - 1 - large, rng)
        basis = np.linalg.qr(np.concatenate([within, across]))[0]
        means.append(_mean_correlation(basis[:small]))
    return float(np.mean(means)), float(np.std(means, ddof=1))


@checked
def layers(
    first_network: nn.Module,
    second_network: nn.Module,
    images: embeddings.Images,
    *,
    layers: Sequence[str],
    measures: Sequence[str] = MEASURES,
    batch_size: int = 256,
) -> pd.DataFrame:
    """How alike two networks are, layer by layer.

    Parameters
    ----------
    first_network, second_network, images, batch_size
        As for :func:`rarefire.embeddings.extract`.
    layers
        Names that both networks have (:func:`rarefire.embeddings.layers`).
    measures
        As for :func:`compare`.

    Returns
    -------
    DataFrame
        A row for each of `layers`: ``layer`` and the measures.

    Raises
    ------
    UnknownNameError
        If a network has no such layer; the message lists those that it has.
    InputError
        As for :func:`compare`.
    """
    import pandas as pd

    shown = images if isinstance(images, Stimuli | np.ndarray) else np.concatenate([*map(np.asarray, images)])
    both = (
        embeddings.each(network, shown, layers=layers, spatial="keep", batch_size=batch_size)
        for network in (first_network, second_network)
    )
    rows = [
        {"layer": layer, **compare(first, second, measures=measures)}
        for (layer, first), (_, second) in zip(*both, strict=True)
    ]
    return pd.DataFrame(rows, columns=["layer", *measures])


class Grams:
    """A layer of which only images by images are kept, to be compared with many others.

    Parameters
    ----------
    features
        As for :func:`compare`.

    Raises
    ------
    InputError
        For another shape, fewer than four images, or NaN or infinite features.
    """

    def __init__(self, features: ArrayLike) -> None:
        rows, _ = _by_image(*_checked(features, features))
        images = _Images(rows)
        self._features = images.gram()
        self._units = {metric: images.units(_METRICS[metric]) for metric in _METRICS}

    def __len__(self) -> int:
        return len(self._features)

    def compare(self, other: Grams, *, measures: Sequence[str] = OF_GRAMS) -> dict[str, float]:
        """As :func:`compare`, whose numbers these are up to rounding.

        Parameters
        ----------
        other
            Another layer, of the same images in the same order.
        measures
            Of :data:`OF_GRAMS`.

        Raises
        ------
        InputError
            For another number of images.
        UnknownNameError
            For another measure.
        """
        if len(self) != len(other):
            raise InputError(f"both layers need the same images; got {len(self)} and {len(other)}.")
        found = {}
        for measure in measures:
            if measure not in OF_GRAMS:
                raise unknown("measure", measure, list(OF_GRAMS))
            if measure == "cka":
                found[measure] = _Products(self._features, other._features)._moments().cka()
            else:
                found[measure] = _r2(_of_both(self._units[measure], other._units[measure]))
        return found


class Pair:
    """Two layers, seen batch by batch: only sums over features by features are kept.

    Parameters
    ----------
    variance
        As for :func:`svcca`.
    """

    def __init__(self, variance: float = 0.99) -> None:
        _check_variance(variance)
        self._variance = variance
        self._widths = (0, 0)
        # A row has both layers side by side, less the first batch's mean, and its squared norm in each.
        self._n = 0
        self._shift: _Floats = np.zeros(0)
        self._sum: _Floats = np.zeros(0)
        self._products: _Floats = np.zeros((0, 0))

    def update(self, first: ArrayLike, second: ArrayLike) -> None:
        """Add a batch.

        Parameters
        ----------
        first, second
            ``(n, p)`` and ``(n, q)``, of any n; or with positions, ``(n, c, h, w)``, each of which is a row.

        Raises
        ------
        InputError
            For shapes that do not fit, each other or the batches so far, and NaN or infinite features.
        """
        x, y = _by_position(*_checked(first, second, least=1))
        widths = p, q = x.shape[1], y.shape[1]
        if not self._n:
            self._widths, self._shift = widths, np.concatenate([_mean(x), _mean(y)])
            self._sum, self._products = np.zeros(p + q + 2), np.zeros((p + q + 2, p + q + 2))
        if widths != self._widths:
            raise InputError(
                f"the batches so far have {self._widths[0]} and {self._widths[1]} features; this one has "
                f"{p} and {q}."
            )
        rows = np.empty((len(x), p + q + 2))
        np.subtract(x, self._shift[:p], out=rows[:, :p])
        np.subtract(y, self._shift[p:], out=rows[:, p:-2])
        np.einsum("ij,ij->i", rows[:, :p], rows[:, :p], out=rows[:, -2])
        np.einsum("ij,ij->i", rows[:, p:-2], rows[:, p:-2], out=rows[:, -1])
        self._n += len(rows)
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows

    def cka(self, *, debiased: bool = True) -> float:
        """As :func:`cka`, of the rows so far: at least four."""
        self._check_rows()
        return self._moments().cka(debiased=debiased)

    def svcca(self) -> float:
        """As :func:`svcca`, of the rows so far: at least four."""
        self._check_rows()
        xx, xy, yy = self._blocks()
        (a, size_a), (b, size_b) = (_directions(block, self._variance) for block in (xx, yy))
        return _mean_correlation((a / np.sqrt(size_a)).T @ xy @ (b / np.sqrt(size_b)))

    def _moments(self) -> _Moments:
        # Of a row z less the mean m, the squared norm is ‖z‖² − 2 z·m + ‖m‖², in each layer.
        n, (p, q) = self._n, self._widths
        turn = np.zeros((p + q + 2, 2))  # what makes of a row with its norms the norms less a constant
        turn[:p, 0], turn[p:-2, 1] = -2 * self._sum[:p] / n, -2 * self._sum[p:-2] / n
        constant = (turn**2).sum(axis=0) / 4
        turn[-2:] = np.eye(2)
        part = self._sum @ turn
        traces = part + n * constant
        norms = turn.T @ self._products @ turn + np.outer(traces, constant) + np.outer(constant, part)
        products = _symmetric(*(np.vdot(block, block) for block in self._blocks()))
        return _Moments(n, products, norms, traces)

    def _blocks(self) -> tuple[_Floats, _Floats, _Floats]:
        """XᵀX, XᵀY and YᵀY, centred."""
        p = self._widths[0]
        centred = self._products[:-2, :-2] - np.outer(self._sum[:-2], self._sum[:-2] / self._n)
        return centred[:p, :p], centred[:p, p:], centred[p:, p:]

    def _check_rows(self) -> None:
        if self._n < 4:
            raise InputError(f"at least four rows are needed to compare layers; there are {self._n} so far.")


class _Products:
    """As :class:`Pair`, from centred images by images: smaller where there are more features."""

    def __init__(self, first: _Floats, second: _Floats, variance: float = 0.99) -> None:
        self._first, self._second, self._variance = first, second, variance

    def svcca(self) -> float:
        a, b = (_directions(gram, self._variance)[0] for gram in (self._first, self._second))
        return _mean_correlation(a.T @ b)

    def _moments(self) -> _Moments:
        k, el = self._first, self._second
        norms = np.stack([np.diag(k), np.diag(el)])
        products = _symmetric(np.vdot(k, k), np.vdot(k, el), np.vdot(el, el))
        return _Moments(norms.shape[1], products, norms @ norms.T, norms.sum(axis=1))


@dataclass(frozen=True)
class _Moments:
    """Of two layers centred over `n` images, with K and L their images by images.

    Attributes
    ----------
    products, norms
        ``(2, 2)``: tr KK, tr KL, tr LK, tr LL; and Σ k_ii², Σ k_ii l_ii, Σ l_ii k_ii, Σ l_ii².
    traces
        ``(2,)``: Σ k_ii, Σ l_ii.
    """

    n: int
    products: _Floats
    norms: _Floats
    traces: _Floats

    def cka(self, *, debiased: bool = True) -> float:
        hsic, n = self.products, self.n
        if debiased:  # Song et al. (2012), where the rows of K and L sum to 0
            hsic = hsic - n / (n - 2) * self.norms + np.outer(self.traces, self.traces) / ((n - 1) * (n - 2))
        return _normalised(hsic, self.products)

    def distances(self) -> float:
        """Pearson r of the squared distances k_ii + k_jj − 2 k_ij of all pairs with those of L."""
        n, traces = self.n, np.outer(self.traces, self.traces)
        squares = 2 * n * self.norms + 2 * traces + 4 * self.products
        return _normalised(squares - 4 * n / (n - 1) * traces, squares)


class _Images:
    """A layer, every position a feature. Of many features, images by images are computed but once."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self.rows = rows

    @functools.cached_property
    def raw(self) -> _Floats:
        """Products of the images' features as they are: ``(n_images, n_images)``."""
        rows = self.rows.astype(np.float64, copy=False)
        return np.asarray(rows @ rows.T)

    def gram(self) -> _Floats:
        """The same, of centred features."""
        centred = _recentred(self.raw)
        return centred if np.trace(centred) > _LEFT * np.trace(self.raw) else _gram(self.rows)

    def units(self, metric: _Metric) -> _Units:
        """The same, of :func:`rarefire.rdm.unit_vectors`, and which images have one."""
        products, squares = self.raw, np.diag(self.raw)
        if metric == "correlation":
            mean, width = self.rows.mean(axis=1, dtype=np.float64), self.rows.shape[1]
            products = products - np.outer(mean, mean * width)
            defined = self.rows.max(axis=1) != self.rows.min(axis=1)
        else:
            defined = self.rows.any(axis=1)
        if not (np.diag(products) > _LEFT * squares)[defined].all():
            unit, defined = unit_vectors(self.rows, metric=metric)
            return np.asarray(unit @ unit.T), defined
        scale = 1 / np.sqrt(np.where(defined, np.diag(products), 1))
        return products * scale * scale[:, None], defined


#: Images with a similarity that an RDM needs.
_FEWEST = 3
#: Rows at a time: the copy of them in double precision stays small.
_ROWS = 8192
#: A mean is taken off products, rather than off features, where at least this share of them is left.
_LEFT = 1e-6


def _of_images(a: _Images, b: _Images) -> Pair | _Products:
    """Sums of two layers' features."""
    return _Products(a.gram(), b.gram()) if _is_wide(a.rows, b.rows) else _sums(a.rows, b.rows)


def _of_units(a: _Images, b: _Images, metric: _Metric) -> Pair | _Products | None:
    """Sums of their unit vectors, of images that have one in both; None, if these are fewer than three."""
    if _is_wide(a.rows, b.rows):
        return _of_both(a.units(metric), b.units(metric))
    (x, has_x), (y, has_y) = (unit_vectors(z.rows, metric=metric) for z in (a, b))
    use = np.flatnonzero(has_x & has_y)
    return _sums(x[use], y[use]) if len(use) >= _FEWEST else None


def _of_both(a: _Units, b: _Units) -> _Products | None:
    """The same, from products of unit vectors."""
    (x, has_x), (y, has_y) = a, b
    use = np.flatnonzero(has_x & has_y)
    both = np.ix_(use, use)
    return _Products(_recentred(x[both]), _recentred(y[both])) if len(use) >= _FEWEST else None


def _r2(units: Pair | _Products | None) -> float:
    """R² of two RDMs."""
    return min(units._moments().distances() ** 2, 1.0) if units else float("nan")


def _is_wide(x: NDArray[Any], y: NDArray[Any]) -> bool:
    """Whether images by images are smaller than features by features."""
    return 2 * len(x) ** 2 < int(x.shape[1] + y.shape[1]) ** 2


def _sums(x: NDArray[Any], y: NDArray[Any], *, variance: float = 0.99) -> Pair | _Products:
    """Sums over rows of two layers, by the shorter way."""
    if _is_wide(x, y):
        return _Products(_gram(x), _gram(y), variance)
    pair = Pair(variance)
    for start in range(0, len(x), _ROWS):
        pair.update(x[start : start + _ROWS], y[start : start + _ROWS])
    return pair


def _gram(rows: NDArray[Any]) -> _Floats:
    """Images by images, of centred features."""
    centred = np.subtract(rows, rows[0], dtype=np.float64)  # exactly 0 where a feature is constant
    centred -= centred.mean(axis=0)
    return np.asarray(centred @ centred.T)


def _recentred(gram: _Floats) -> _Floats:
    centred = gram - gram.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    return np.asarray(centred)


def _symmetric(first: Any, between: Any, second: Any) -> _Floats:
    return np.array([[first, between], [between, second]], dtype=np.float64)


def _normalised(covariance: _Floats, size: _Floats) -> float:
    """A correlation from covariances ``(2, 2)``; NaN if a variance is but the rounding of what it is from."""
    variances = np.diag(covariance)
    if not (variances > SAME * np.diag(size)).all():
        return float("nan")
    return float(covariance[0, 1] / np.sqrt(variances).prod())


def _directions(gram: _Floats, variance: float) -> tuple[_Floats, _Floats]:
    """Eigenvectors that reach this share of the variance, in columns, and their eigenvalues; maybe none."""
    size, axes = np.linalg.eigh(gram)
    size, axes = size[::-1], axes[:, ::-1]
    reached = np.cumsum(size)
    kept = np.count_nonzero(reached < (variance - SAME) * reached[-1]) + 1
    kept = min(kept, np.count_nonzero(size > TIE * size[0]))
    return axes[:, :kept], size[:kept]


def _mean_correlation(products: _Floats) -> float:
    """Mean of the canonical correlations, from the products of two orthonormal bases; NaN if one is empty."""
    if not products.size:
        return float("nan")
    return float(np.minimum(np.linalg.svd(products, compute_uv=False), 1).mean())


def _root_wishart(width: int, n: int, rng: np.random.Generator) -> _Floats:
    """R such that RᵀR is distributed as GᵀG, with `n` rows of `width` independent Gaussians in G."""
    if n < width:
        return np.asarray(rng.normal(size=(n, width)))
    triangle = np.triu(rng.normal(size=(width, width)), k=1)
    np.fill_diagonal(triangle, np.sqrt(rng.chisquare(n - np.arange(width))))
    return triangle


def _mean(rows: NDArray[Any]) -> _Floats:
    """Mean of every column; exactly its value, for one that is constant."""
    first = rows[0].astype(np.float64)
    return np.asarray(first + np.subtract(rows, first, dtype=np.float64).mean(axis=0))


def _checked(first: ArrayLike, second: ArrayLike, *, least: int = 4) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = (_floating(array) for array in (first, second))
    fit = len(x.shape) in (2, 4) and len(y.shape) in (2, 4) and len(x) == len(y) >= least
    if not fit or not x.size or not y.size:
        raise InputError(
            "two layers are (n_images, n_features) or (n_images, channels, height, width), of the same "
            f"{'images' if least == 1 else f'{least} or more images'}; got {x.shape} and {y.shape}."
        )
    for which, array in (("first", x), ("second", y)):
        if not np.isfinite(array).all():
            bad = np.count_nonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
            raise InputError(
                f"{bad} of {len(array)} images have NaN or infinite features in the {which} layer."
            )
    return x, y


def _floating(array: ArrayLike) -> NDArray[Any]:
    given = np.asarray(array)
    return given if given.dtype in (np.float32, np.float64) else given.astype(np.float64)


def _check_variance(variance: float) -> None:
    if not 0 < variance <= 1:
        raise InputError(f"variance is a share in (0, 1]; got {variance}.")


def _by_image(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every position of every channel a feature."""
    return x.reshape(len(x), -1), y.reshape(len(y), -1)


def _by_position(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every position of every image a row."""
    if x.shape[2:] != y.shape[2:]:
        raise InputError(
            f"canonical correlations need layers with the same positions; got {x.shape} and {y.shape}."
        )
    if x.ndim == 2:
        return x, y
    a, b = (np.moveaxis(z, 1, -1).reshape(-1, z.shape[1]) for z in (x, y))
    return a, b
