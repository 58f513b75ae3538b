"""PoZ: how rarely a feature fires; orders by it; which silent features are silent where.

Percentage of zeros (PoZ; Hu et al. 2016): the share of images for which a post-ReLU feature is
exactly 0. Here it is a share in [0, 1]. For a convolutional layer the zeros are counted over images
and positions (average percentage of zeros, APoZ).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rarefire._engine import blocks
from rarefire._engine.arguments import check_finite, checked
from rarefire.errors import InputError, unknown
from rarefire.rounding import levels

__all__ = [
    "KINDS",
    "RARE",
    "STATISTICS",
    "Direction",
    "PozCounter",
    "Silence",
    "check_activations",
    "ghosts",
    "kinds",
    "order",
    "poz",
    "rare_share",
    "saturated",
    "silence",
    "silent",
    "statistic",
]

Direction = Literal["low", "high"]


#: What a feature can be.
KINDS = ("active", "rare", "dead")
#: Features with a greater PoZ are rare; Truong et al. (2023) speak of 80 %.
RARE = 0.8


def poz(embedding: Any) -> NDArray[np.float64]:
    """PoZ of every feature.

    Parameters
    ----------
    embedding
        Post-ReLU activations, ``(n_images, n_features)``, an array or anything else that is read in blocks
        (:mod:`rarefire._engine.blocks`), such as a file on disk; or ``(n_images, n_channels, h, w)``, which
        gives the APoZ of every channel (Hu et al. 2016, equation 1).

    Returns
    -------
    ndarray
        ``(n_features,)``, share of zeros in [0, 1].

    Raises
    ------
    InputError
        For activations that are negative (not post-ReLU), NaN or infinite, and for no images.
    """
    return PozCounter.over(_batches(embedding)).result()


@checked
def saturated(embedding: Any, *, at: float = 6.0) -> NDArray[np.float64]:
    """How often a feature is as large as its activation lets it be: the other end of a ReLU6.

    A capped feature tells images apart that leave it below the cap, no others; PoZ is the same with the cap
    and without.

    Parameters
    ----------
    embedding
        As for :func:`poz`.
    at
        The largest value of the activation function, > 0; 6 for ReLU6.

    Returns
    -------
    ndarray
        ``(n_features,)``, share of activations that are exactly `at`, in [0, 1].

    Raises
    ------
    InputError
        As for :func:`poz`, and for activations above `at`: the layer is not capped there.
    """
    if not (np.isfinite(at) and at > 0):
        raise InputError(f"at is the largest value of the activation function, above 0; got {at}.")
    counter = PozCounter()
    for batch in _batches(embedding):
        activations = check_activations(batch)
        largest = activations.max(initial=0)
        if largest > at:
            raise InputError(f"an activation is {largest:g}: the layer is not capped at {at:g}.")
        counter.update(at - activations)
    return counter.result()


def _batches(embedding: Any) -> Iterator[ArrayLike]:
    """Activations in blocks; those with positions at once."""
    if len(getattr(embedding, "shape", ())) != 2:
        yield embedding
        return
    source = blocks.check_source(embedding, least=0)
    for rows in blocks.spans(source, elements=2**22):
        yield blocks.read(source, rows)


@checked
def rare_share(poz: ArrayLike, *, rare: float = RARE) -> NDArray[np.float64]:
    """Share of features that are rare or dead: their PoZ is greater than `rare`.

    Parameters
    ----------
    poz
        ``(…, n_features)`` in [0, 1].
    rare
        In [0, 1].

    Returns
    -------
    ndarray
        ``(…,)``, in [0, 1].
    """
    return np.asarray((np.asarray(poz) > rare).mean(axis=-1))


@checked
def kinds(poz: ArrayLike, *, rare: float = RARE) -> NDArray[np.str_]:
    """Which features are active, rare or dead.

    Parameters
    ----------
    poz
        ``(n_features,)`` in [0, 1].
    rare
        Features with a greater PoZ are rare.

    Returns
    -------
    ndarray
        ``(n_features,)``, of :data:`KINDS`; dead: PoZ is 1.
    """
    rates = np.asarray(poz, dtype=np.float64)
    if rates.ndim != 1 or not ((rates >= 0) & (rates <= 1)).all():
        raise InputError(f"poz must be one share in [0, 1] per feature; got shape {rates.shape}.")
    return np.where(rates == 1, "dead", np.where(rates > rare, "rare", "active"))


class PozCounter:
    """PoZ over batches, without keeping the activations.

    >>> counter = PozCounter()
    >>> for batch in ([[0.0, 1.0]], [[0.0, 0.0]]):
    ...     counter.update(batch)
    >>> counter.result()
    array([1. , 0.5])
    """

    def __init__(self) -> None:
        self.n_images = 0
        self._zeros: NDArray[np.int64] | None = None
        self._counted = 0

    @classmethod
    def over(cls, batches: Iterable[ArrayLike]) -> PozCounter:
        """A counter that has counted all of these batches."""
        counter = cls()
        for batch in batches:
            counter.update(batch)
        return counter

    def update(self, batch: ArrayLike) -> None:
        """Count one batch, ``(n_images, n_features)`` or ``(n_images, n_channels, h, w)``."""
        activations = check_activations(batch)
        positions = (0, *range(2, activations.ndim))
        zeros = np.count_nonzero(activations == 0, axis=positions)
        self._check(len(zeros))
        self._zeros = zeros if self._zeros is None else self._zeros + zeros
        self._counted += activations.size // activations.shape[1] if activations.size else 0
        self.n_images += len(activations)

    def add(self, other: PozCounter) -> None:
        """Count what another counter has counted."""
        if other._zeros is None:
            return
        self._check(len(other._zeros))
        self._zeros = other._zeros.copy() if self._zeros is None else self._zeros + other._zeros
        self._counted += other._counted
        self.n_images += other.n_images

    def _check(self, features: int) -> None:
        if self._zeros is not None and len(self._zeros) != features:
            raise InputError(f"this batch has {features} features, those before it had {len(self._zeros)}.")

    def result(self) -> NDArray[np.float64]:
        """PoZ so far, ``(n_features,)`` in [0, 1]."""
        if self._zeros is None or not self._counted:
            raise InputError("PoZ needs at least one image; none was counted.")
        return self._zeros / self._counted


@checked
def order(
    poz: ArrayLike, *, first: Direction = "low", rng: np.random.Generator | None = None
) -> NDArray[np.intp]:
    """Feature indices in order of PoZ.

    Parameters
    ----------
    poz
        ``(n_features,)``.
    first
        ``"low"``: the most active feature comes first (low→high PoZ); ``"high"``: the rarest.
    rng
        Equal PoZ goes by feature index, in both directions; so do other numbers that differ by rounding
        alone. With a generator, by chance instead: the control that shows that the tie rule does not
        matter.

    Returns
    -------
    ndarray
        ``(n_features,)``, a permutation.
    """
    values = np.asarray(poz, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError(f"poz must be one finite number per feature; got shape {values.shape}.")
    if first not in ("low", "high"):
        raise InputError(f"first is 'low' or 'high'; got {first!r}.")
    keys = levels(values if first == "low" else -values)
    if rng is None:
        return np.argsort(keys, kind="stable")
    return np.lexsort((rng.permutation(len(keys)), keys))


#: What :func:`statistic` computes.
STATISTICS = ("mean", "sd", "entropy")


@checked
def statistic(embedding: ArrayLike, by: str, *, bins: int = 20) -> NDArray[np.float64]:
    """Another number to order features by, for comparison: ``order(statistic(E, "sd"), first="high")``.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU.
    by
        ``"mean"`` activation; ``"sd"``, its standard deviation over images; ``"entropy"`` in bits of
        the histogram of its values (Luo & Wu 2017), in `bins` equal parts from 0 to its largest.
    bins
        At least 2.

    Returns
    -------
    ndarray
        ``(n_features,)``, ≥ 0; entropy is at most log2(`bins`), and 0 for a feature that is always 0.

    Raises
    ------
    UnknownNameError
        For another name.
    InputError
        For activations that are not post-ReLU, and for fewer than two bins.
    """
    if by not in STATISTICS:
        raise unknown("statistic", by, list(STATISTICS))
    activations = check_activations(embedding, dimensions=2).astype(np.float64)
    if not len(activations):
        raise InputError("a statistic needs at least one image; got none.")
    if by == "mean":
        return np.asarray(activations.mean(axis=0))
    if by == "sd":  # exactly 0 without variation, though the mean may be rounded
        return np.where(np.ptp(activations, axis=0) > 0, activations.std(axis=0), 0.0)
    if not isinstance(bins, (int, np.integer)) or bins < 2:
        raise InputError(f"bins must be at least 2, a whole number; got {bins}.")
    largest = activations.max(axis=0)
    places = np.minimum(bins * (activations / np.where(largest > 0, largest, 1)), bins - 1).astype(np.intp)
    counts = np.stack([np.count_nonzero(places == b, axis=0) for b in range(bins)])
    return np.asarray(stats.entropy(counts, base=2, axis=0))


@checked
def silent(embedding: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Features that are 0 for every image of a category: its ghosts, and the dead ones.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU.
    labels
        ``(n_images,)`` integers.

    Returns
    -------
    ndarray
        ``(n_categories, n_features)``; the rows follow ``numpy.unique(labels)``.
    """
    activations = check_activations(embedding, dimensions=2)
    categories = np.asarray(labels)
    if categories.shape != (len(activations),):
        raise InputError(
            f"labels must be one per image: expected ({len(activations)},), got {categories.shape}."
        )
    if not len(activations):
        raise InputError("what is silent needs at least one image; got none.")
    fires = activations > 0
    return np.stack([~fires[categories == c].any(axis=0) for c in np.unique(categories)])


@checked
def ghosts(embedding: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Ghost features of every category: 0 for all of its images, active for some other image.

    Parameters
    ----------
    embedding, labels
        As for :func:`silent`.

    Returns
    -------
    ndarray
        ``(n_categories, n_features)``; the rows follow ``numpy.unique(labels)``. A feature that is dead,
        0 for all the images, is a ghost of no category.
    """
    quiet = silent(embedding, labels)
    return np.asarray(quiet & ~quiet.all(axis=0))


@dataclass(frozen=True)
class Silence:
    """Three kinds of silent features, told apart.

    Attributes
    ----------
    dead_in_training, dead_in_test
        ``(n_features,)`` masks: 0 for every training image, for every test image.
    ghost
        ``(n_categories, n_features)``: ghosts among the test images (:func:`ghosts`).
    """

    dead_in_training: NDArray[np.bool_]
    dead_in_test: NDArray[np.bool_]
    ghost: NDArray[np.bool_]


@checked
def silence(poz_training: ArrayLike, embedding: ArrayLike, labels: ArrayLike) -> Silence:
    """Tell apart dead on training images, dead on test images, and ghost of one category.

    Parameters
    ----------
    poz_training
        ``(n_features,)``, PoZ over the training images.
    embedding, labels
        Of the test images: ``(n_images, n_features)`` and ``(n_images,)``.
    """
    training = np.asarray(poz_training, dtype=np.float64)
    quiet = silent(embedding, labels)
    if training.shape != quiet.shape[1:]:
        raise InputError(f"poz_training has shape {training.shape}, the embedding {quiet.shape[1]} features.")
    dead = np.asarray(quiet.all(axis=0))
    return Silence(training == 1, dead, quiet & ~dead)


#: Advice where activations are negative and nothing is known of the network.
_NO_RELU = (
    "Name the ReLU's layer, not the one before it; a network with GELU, SiLU or Hardswish instead has none."
)


@checked
def check_activations(
    values: ArrayLike, *, dimensions: int | None = None, hint: str = _NO_RELU
) -> NDArray[Any]:
    """`values` as an array of activations, checked; `hint` is what to do where some are negative."""
    activations = np.asarray(values)
    if activations.ndim not in ((2, 4) if dimensions is None else (dimensions,)):
        expected = "(n_images, n_features)" + (
            " or (n_images, n_channels, h, w)" if dimensions is None else ""
        )
        raise InputError(f"activations must be {expected}; got {activations.shape}.")
    if activations.size:
        low, high = activations.min(), activations.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            check_finite(np.isfinite(activations.reshape(len(activations), -1)).all(axis=1))
        if low < 0:
            share = np.count_nonzero(activations < 0) / activations.size
            raise InputError(
                f"{share:.0%} of the activations are negative (lowest {low:.3g}): PoZ is defined for "
                f"post-ReLU features. {hint}"
            )
    return activations
