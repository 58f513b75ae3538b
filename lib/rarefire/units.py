"""What single units do across images: spike counts, class selectivity, information about the images.

A unit fires for an image if its activation is above 0. How many images of a window of n it fires for is its
spike count, and the Fano factor is the variance of the counts over their mean. Of independent images the
count is binomial: the Fano factor is then PoZ and says nothing more. It is more where images of a class come
together and the unit tells classes apart: PoZ·(1 + (n−1)·ρ), with ρ the correlation of its firing for two
images of a class. A Fano factor beyond PoZ is selectivity *and* the order of the images; the same images
shuffled are its control. One shuffle is one draw for all the units: average over shuffles.

What a unit knows of a property of images, such as their luminance (:mod:`rarefire.lowlevel`) or class, is the
mutual information of its response and the property, in bits, as Tafazoli et al. (2017) measured it in rats'
neurons. A network answers an image the same every time, so a response is one of three: silence, and the
lower and upper half of what the unit gives when it fires (:func:`responses`). No unit can know more than the
entropy H of its responses, and by firing or not no more than :func:`poz_bound` of its PoZ: compare shares of
H, or units of like PoZ. A unit that is silent throughout has H = 0 and is counted apart (:func:`summary`).

How much of a layer's geometry hangs on a unit alone is what is left of the RDM without it
(:func:`without_each`).

References
----------
Muratore P, Tafazoli S, Piasini E, Laio A, Zoccolan D (2022). Prune and distill: similar reformatting of image
information along rat visual cortex and deep neural networks. NeurIPS 35.
Panzeri S, Treves A (1996). Analytical estimates of limited sampling biases in different information measures.
Network 7, 87–107.
Tafazoli S, Safaai H, De Franceschi G, et al. (2017). Emergence of transformation-tolerant representations of
visual objects in rat lateral extrastriate cortex. eLife 6, e22794.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special, stats
from tqdm import tqdm

from rarefire import inference
from rarefire._engine.arguments import checked
from rarefire._engine.grams import PairSums, correlation
from rarefire.errors import InputError, unknown
from rarefire.poz import check_activations
from rarefire.rdm import Metric, check_embedding, unit_vectors
from rarefire.rounding import SAME, levels

__all__ = [
    "InformationTest",
    "Summary",
    "Without",
    "bins",
    "class_blocks",
    "conditional_information",
    "entropy",
    "expected_fano",
    "expected_information",
    "fano",
    "gini",
    "independent_share",
    "information",
    "information_test",
    "poz_bound",
    "responses",
    "selectivity",
    "summary",
    "top_share",
    "without_each",
]

_CHUNK = 2**20  # numbers in a working array
_ROWS = 512  # of the tables of several permutations


@checked
def fano(embedding: ArrayLike, *, window: int, order: ArrayLike | None = None) -> NDArray[np.float64]:
    """Fano factor of every unit: variance over mean of its spike counts in windows of images.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU.
    window
        Consecutive images that make a window, at least 2; what is left after the last whole one is not
        counted.
    order
        Image indices, each at most once, in the order in which the images are shown: a permutation, or some
        of them, as from :func:`class_blocks`. By default as given.

    Returns
    -------
    ndarray
        ``(n_features,)``, ≥ 0; the variance is over windows, with one degree of freedom less. NaN for a unit
        that does not fire in them. Over all orders of N images in whole windows its mean is exactly
        PoZ·N/(N−1).

    Raises
    ------
    InputError
        For activations that are not post-ReLU, a wrong order, and for fewer than two windows.
    """
    fires = check_activations(embedding, dimensions=2) > 0
    shown = np.arange(len(fires)) if order is None else np.asarray(order)
    indices = shown.ndim == 1 and np.issubdtype(shown.dtype, np.integer)
    if not indices or len(np.intersect1d(shown, np.arange(len(fires)))) < len(shown):
        raise InputError(
            f"order must be image indices from 0 to {len(fires) - 1}, each at most once; got {shown.dtype} "
            f"{shown.shape}."
        )
    n = _check_window(window, len(shown))
    n_windows = len(shown) // n
    counts = fires[shown[: n_windows * n]].reshape(n_windows, n, -1).sum(axis=1)
    mean, variance = counts.mean(axis=0), counts.var(axis=0, ddof=1)
    return np.asarray(np.divide(variance, mean, out=np.full(len(mean), np.nan), where=mean > 0))


@checked
def selectivity(embedding: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """How far classes decide whether a unit fires: the intraclass correlation ρ of its firing.

    The classes are those there are, not a sample of others. So ρ is the variance of their firing rates over
    that of the firing, p(1−p), and its estimate ε² (Kelley 1935; adjusted R²), one minus the mean square
    within classes over the total mean square: what chance alone gives is taken off. It is the estimate with
    which :func:`expected_fano` can be exact. That of the analysis of variance with random effects, where
    classes are drawn from others, is up to C/(C−1) times as large, with C classes.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU.
    labels
        ``(n_images,)``, at least two classes, fewer than images.

    Returns
    -------
    ndarray
        ``(n_features,)``, at most 1: the unit fires for all images of some classes and for none of the
        others. Around 0 where classes make no difference, so also negative. NaN for a unit that always or
        never fires.

    Raises
    ------
    InputError
        For activations that are not post-ReLU, and for labels that are not as above.
    """
    fires = check_activations(embedding, dimensions=2) > 0
    n = len(fires)
    given = np.asarray(labels)
    if given.shape != (n,):
        raise InputError(f"labels must be one per image: expected ({n},), got {given.shape}.")
    classes, sizes = np.unique(given, return_counts=True)
    if not 2 <= len(classes) < n:
        raise InputError(
            f"selectivity needs two classes or more, one of them with two images; got {len(classes)} classes "
            f"of {n} images."
        )
    fired = np.stack([np.count_nonzero(fires[given == c], axis=0) for c in classes])
    rest = sizes[:, None] - fired
    within = (fired * rest / sizes[:, None]).sum(axis=0) / (n - len(classes))
    total = fired.sum(axis=0) * rest.sum(axis=0) / n / (n - 1)
    return np.asarray(1 - np.divide(within, total, out=np.full(len(total), np.nan), where=total > 0))


@checked
def expected_fano(poz: ArrayLike, selectivity: ArrayLike, *, window: int) -> NDArray[np.float64]:
    """Fano factor to expect where every window is of one class: PoZ·(1 + (n−1)·ρ).

    The factor is Kish's (1965) design effect of clusters. The formula is for many windows: with classes of
    equal size, N images and M windows that hold them all, the mean of :func:`fano` over all their class
    blocks is exactly PoZ·N/(N−1)·(1 + (n−1)·ρ·M/(M−1)), as classes take turns and are not drawn.

    Parameters
    ----------
    poz
        ``(n_features,)`` in [0, 1], from :func:`rarefire.poz.poz`.
    selectivity
        ``(n_features,)``, ρ, from :func:`selectivity`.
    window
        n, at least 2.

    Returns
    -------
    ndarray
        ``(n_features,)``; NaN where ρ is, but for a unit that always fires 0.

    Raises
    ------
    InputError
        For numbers out of range or of different shapes, and a window below 2.
    """
    rates, rho = np.asarray(poz, dtype=np.float64), np.asarray(selectivity, dtype=np.float64)
    if rates.shape != rho.shape or not ((rates >= 0) & (rates <= 1)).all() or (rho > 1).any():
        raise InputError(
            "poz and selectivity must be one number per feature, in [0, 1] and at most 1; got shapes "
            f"{rates.shape} and {rho.shape}."
        )
    return np.where(rates == 0, 0.0, rates * (1 + (_check_window(window) - 1) * rho))


@checked
def class_blocks(labels: ArrayLike, *, window: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Images in an order in which every window is of one class, for :func:`fano`.

    Parameters
    ----------
    labels
        ``(n_images,)``.
    window
        Images of a window, at least 2.
    rng
        Draws which images of a class go together and which window comes when.

    Returns
    -------
    ndarray
        Image indices, each at most once; of each class the images beyond whole windows are left out, by
        chance. A permutation of it, ``rng.permutation``, shows the same images without blocks.

    Raises
    ------
    InputError
        Where the classes do not fill two windows.
    """
    given = np.asarray(labels)
    if given.ndim != 1:
        raise InputError(f"labels must be one per image; got shape {given.shape}.")
    n = _check_window(window)
    mixed = rng.permutation(len(given))
    own = [mixed[given[mixed] == c] for c in np.unique(given)]
    windows = [images[: len(images) // n * n].reshape(-1, n) for images in own]
    if sum(map(len, windows)) < 2:
        sizes = [len(images) for images in own]
        raise InputError(f"the classes must fill two windows of {n}; they have {sizes[:10]} images.")
    return rng.permutation(np.concatenate(windows)).ravel()


def _check_window(window: int, n_images: int | None = None) -> int:
    if not isinstance(window, (int, np.integer)) or window < 2:
        raise InputError(f"window must be at least 2, a whole number of images; got {window!r}.")
    if n_images is not None and n_images < 2 * window:
        raise InputError(f"a variance needs at least two windows of {window}; got {n_images} images.")
    return int(window)


# --- information ---------------------------------------------------------------------------------


@checked
def responses(embedding: ArrayLike) -> NDArray[np.uint8]:
    """What a unit says of an image: nothing, little or much, for its own range.

    Three bins of equal size, as of spike counts, are impossible where a unit is silent for more than a third
    of the images. So silence is a bin, and what is above 0 is halved, for each unit by itself.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU.

    Returns
    -------
    ndarray
        ``(n_images, n_features)``: 0 for an activation of 0; 1 and 2 for the lower and the upper half of the
        unit's positive ones. Equal activations stay together, where that leaves the halves less unequal, and
        below where both ways do: of an odd number the middle one is in the lower half, and a unit that has
        one positive value has no upper half.

    Raises
    ------
    InputError
        For activations that are not post-ReLU, and for no images.
    """
    activations = check_activations(embedding, dimensions=2)
    if not len(activations):
        raise InputError("responses are those to images; got none.")
    found = np.empty(activations.shape, dtype=np.uint8)
    for columns in _columns(activations):
        found[:, columns] = _halves(activations[:, columns])
    return found


@checked
def bins(values: ArrayLike, n_bins: int = 23) -> NDArray[np.intp]:
    """A property of images, such as their luminance, in bins of equal size.

    Parameters
    ----------
    values
        ``(n_images,)``, finite.
    n_bins
        At least 2, at most as many as there are images; 23 in Tafazoli et al. (2017).

    Returns
    -------
    ndarray
        ``(n_images,)``, from 0 for the lowest to at most ``n_bins − 1``. Without equal values, sizes differ
        by at most 1. Values that are equal, up to rounding (:mod:`rarefire.rounding`), share the bin in which
        the middle of them is, of two the lower one; bins can then be larger, or empty.

    Raises
    ------
    InputError
        For values that are not as above.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not np.isfinite(given).all():
        raise InputError(
            f"values must be one finite number per image; got shape {given.shape}, "
            f"{np.count_nonzero(~np.isfinite(given))} of them NaN or infinite: leave those images out."
        )
    if not isinstance(n_bins, (int, np.integer)) or not 2 <= n_bins <= len(given):
        raise InputError(
            f"n_bins must be a whole number from 2 to the number of images, {len(given)}; got {n_bins!r}."
        )
    level = levels(given)
    upto = np.cumsum(np.bincount(level))
    below = np.concatenate([[0], upto[:-1]])
    return np.asarray((n_bins * (below + upto) - 1) // (2 * len(given)))[level]


@checked
def entropy(responses: ArrayLike) -> NDArray[np.float64]:
    """Entropy H of every unit's responses, in bits: what it could say at most.

    Parameters
    ----------
    responses
        ``(n_images, n_features)``, from :func:`responses`, or whether the unit fires.

    Returns
    -------
    ndarray
        ``(n_features,)``, ≥ 0, at most log2 of the number of bins; exactly 0 for a unit whose response is
        always the same. Of three bins, h(PoZ) of :func:`poz_bound` and 1 − PoZ more, for halves. It is that
        of the images given; for N images in R bins, it is about (R − 1)/(2 N ln 2) less than that of many.

    Raises
    ------
    InputError
        For responses that are not whole numbers from 0 on, and for no images.
    """
    given = _check_responses(responses)
    shares = np.stack([np.count_nonzero(given == r, axis=0) for r in range(int(given.max()) + 1)]) / len(
        given
    )
    return np.asarray(special.entr(shares).sum(axis=0) / np.log(2))


@checked
def poz_bound(poz: ArrayLike) -> NDArray[np.float64]:
    """What a unit can say by firing or not, in bits: the entropy h of two answers, p = PoZ.

    Parameters
    ----------
    poz
        ``(…,)``, in [0, 1].

    Returns
    -------
    ndarray
        ``(…,)``, −p·log2(p) − (1−p)·log2(1−p) in [0, 1]; 1 for a PoZ of one half.

    Raises
    ------
    InputError
        For shares outside [0, 1].
    """
    rates = np.asarray(poz, dtype=np.float64)
    if not ((rates >= 0) & (rates <= 1)).all():
        raise InputError("poz is a share of images, in [0, 1]; some are not.")
    return np.asarray((special.entr(rates) + special.entr(1 - rates)) / np.log(2))


@checked
def information(responses: ArrayLike, stimulus: ArrayLike, *, corrected: bool = True) -> NDArray[np.float64]:
    """Mutual information I(R;S) of every unit's responses and a property of the images, in bits.

    Parameters
    ----------
    responses
        ``(n_images, n_features)``, from :func:`responses`, or whether the unit fires.
    stimulus
        ``(n_images,)``, the property in values of which there are few: bins of :func:`bins`, or labels.
    corrected
        Take off what chance gives (Panzeri & Treves 1996): [Σ_s (R_s − 1) − (R − 1)]/(2 N ln 2), with N
        images, R the responses that occur, and R_s those that occur for value s of the property.

    Returns
    -------
    ndarray
        ``(n_features,)``. Between 0 and the smaller of both entropies; corrected around 0 where a unit knows
        nothing, so also negative. 0 for a unit whose response is always the same.

    Raises
    ------
    InputError
        For responses that are not whole numbers from 0 on, and for a property without one value per image.

    Notes
    -----
    Images in tens for each value of the property leave some bias even when corrected: with three bins and 23,
    0.02 bits at 230 images, where 0.15 are taken for information otherwise; under 0.001 from 1,000 on. That
    is for responses that are about as frequent. Those of a unit that fires for few images are in few bins,
    and the correction takes off too little: it leaves 0.014 bits at 1,000 images for a PoZ of 0.93, of 0.4
    that it could say. What chance gives such a unit is :func:`expected_information`.
    """
    given = _check_responses(responses)
    return _information(given, _check_stimulus(stimulus, len(given)), corrected)


@checked
def expected_information(responses: ArrayLike, stimulus: ArrayLike) -> NDArray[np.float64]:
    """What chance gives: the mean information over all orders of the images, in bits, exactly.

    To be taken off ``information(…, corrected=False)``: the difference is 0 on average for a unit that knows
    nothing, however rarely it fires. With as many images of a bin as of units' responses in a hypergeometric
    draw, Vinh, Epps & Bailey (2010) have it in closed form.

    Parameters
    ----------
    responses, stimulus
        As for :func:`information`.

    Returns
    -------
    ndarray
        ``(n_features,)``, ≥ 0; 0 for a unit whose response is always the same.

    Raises
    ------
    InputError
        As for :func:`information`.

    References
    ----------
    Vinh, N. X., Epps, J., & Bailey, J. (2010). Information theoretic measures for clusterings comparison:
    variants, properties, normalization and correction for chance. JMLR 11, 2837–2854.
    """
    said = _check_responses(responses)
    n, sizes = len(said), np.bincount(_check_stimulus(stimulus, len(said)))
    frequency = np.stack([np.count_nonzero(said == r, axis=0) for r in range(int(said.max()) + 1)])
    # A cell of the table hangs on how often its response and its value occur, and on nothing else.
    often, which = np.unique(frequency, return_inverse=True)
    bits = np.zeros(len(often))
    for size, times in zip(*np.unique(sizes, return_counts=True), strict=True):
        both = np.arange(1, size + 1)
        chance = stats.hypergeom.pmf(both, n, size, often[:, None])
        gives = both / n * np.log2(n * both / (size * np.maximum(often, 1)[:, None]))
        bits += times * (chance * gives).sum(axis=1)
    return np.asarray(np.maximum(bits[which.reshape(frequency.shape)].sum(axis=0), 0))


@checked
def conditional_information(
    responses: ArrayLike, stimulus: ArrayLike, *, given: ArrayLike, corrected: bool = True
) -> NDArray[np.float64]:
    """What a unit tells of one property where another is known already, I(R;S|L) in bits.

    It is I(R;S,L) − I(R;L), with I(R;S,L) the information about both. So the chain rule holds, I(R;S,L) =
    I(R;L) + I(R;S|L); where S decides L, as a stimulus does its luminance, I(R;S,L) is I(R;S).

    Parameters
    ----------
    responses, stimulus, corrected
        As for :func:`information`.
    given
        ``(n_images,)``, the property that is known, L.

    Returns
    -------
    ndarray
        ``(n_features,)``, ≥ 0; corrected also negative.

    Raises
    ------
    InputError
        As for :func:`information`.
    """
    said = _check_responses(responses)
    known = _check_stimulus(given, len(said))
    both = _both(_check_stimulus(stimulus, len(said)), known)
    return _information(said, both, corrected) - _information(said, known, corrected)


@checked
def independent_share(
    responses: ArrayLike, stimulus: ArrayLike, *, given: ArrayLike, corrected: bool = True
) -> NDArray[np.float64]:
    """Share of what a unit tells that a low-level property does not explain, f = I(R;S|L)/I(R;S,L).

    It is f_high of Tafazoli et al. (2017), where S decides L and I(R;S,L) is I(R;S).

    Parameters
    ----------
    responses, stimulus, given, corrected
        As for :func:`conditional_information`.

    Returns
    -------
    ndarray
        ``(n_features,)``, in [0, 1]; corrected also outside. NaN where nothing is told, I(R;S,L) ≤ 0: a ratio
        of small numbers says little, so look at units that tell something.

    Raises
    ------
    InputError
        As for :func:`information`.
    """
    said = _check_responses(responses)
    known = _check_stimulus(given, len(said))
    total = _information(said, _both(_check_stimulus(stimulus, len(said)), known), corrected)
    beyond = total - _information(said, known, corrected)
    return np.asarray(np.divide(beyond, total, out=np.full(len(total), np.nan), where=total > SAME))


@dataclass(frozen=True, eq=False)
class InformationTest:
    """Which units know which properties.

    Attributes
    ----------
    properties
        Their names.
    information
        ``(n_properties, n_features)``, bits, corrected.
    p
        ``(n_properties, n_features)``, of the permutations; at least 1 / (n_permutations + 1).
    adjusted
        ``(n_properties, n_features)``, for the number of properties (Holm 1979), for each unit by itself.
    """

    properties: tuple[str, ...]
    information: NDArray[np.float64]
    p: NDArray[np.float64]
    adjusted: NDArray[np.float64]


@checked
def information_test(
    responses: ArrayLike,
    stimuli: Mapping[str, ArrayLike],
    *,
    rng: np.random.Generator,
    n_permutations: int = 999,
    progress: bool = False,
) -> InformationTest:
    """Whether units know properties at all: information against that of permuted images.

    Each permutation gives the images one another's properties, all of a property's at once and the same for
    all units and properties. So every p holds its level, and those of different units go together as the
    units do: how many are below a level says little of how many are expected to be. The images must be
    exchangeable: several positions of one image are not.

    Parameters
    ----------
    responses
        ``(n_images, n_features)``, from :func:`responses`.
    stimuli
        By name, each as for :func:`information`.
    rng
        Source of the permutations.
    n_permutations
        At least 1; the source has 100.
    progress
        Show a progress bar.

    Returns
    -------
    InformationTest
        One-sided: p is the share of permutations, the given order among them, with as much information. What
        is compared is not corrected, which the permutations make up for. 1 for a unit whose response is
        always the same.

    Raises
    ------
    InputError
        As for :func:`information`, for no properties, and for no permutations.
    """
    said = _check_responses(responses)
    if not stimuli:
        raise InputError("stimuli holds properties by name; got none.")
    if not isinstance(n_permutations, (int, np.integer)) or n_permutations < 1:
        raise InputError(f"n_permutations must be a whole number, at least 1; got {n_permutations!r}.")
    values = [_check_stimulus(one, len(said)) for one in stimuli.values()]
    shuffles = np.stack([rng.permutation(len(said)) for _ in range(n_permutations)])
    as_much = np.ones((len(values), said.shape[1]))
    parts = [
        (own, one, columns) for own, one in zip(as_much, values, strict=True) for columns in _columns(said)
    ]
    for own, one, columns in tqdm(parts, desc="permutations", disable=not progress, leave=False):
        shown = said[:, columns]
        least = _told(_tables(one[None], shown))[0] - SAME
        for some in np.array_split(shuffles, -(-n_permutations * (one.max() + 1) // _ROWS)):
            own[columns] += np.count_nonzero(_told(_tables(one[some], shown)) >= least, axis=0)
    p = as_much / (n_permutations + 1)
    known = np.stack([_information(said, one, True) for one in values])
    return InformationTest(tuple(stimuli), known, p, np.apply_along_axis(inference.holm, 0, p))


@dataclass(frozen=True)
class Without:
    """What is left of a geometry without a single feature, for each of them.

    Attributes
    ----------
    r
        ``(n_features,)``, Pearson correlation of the RDM without it and the whole RDM, in [−1, 1]; NaN where
        it is undefined.
    n_images
        ``(n_features,)``, images that have a similarity with it and without it.
    """

    r: NDArray[np.float64]
    n_images: NDArray[np.intp]

    @property
    def r2(self) -> NDArray[np.float64]:
        """``(n_features,)``, squared correlation, in [0, 1]."""
        return self.r**2

    @property
    def rank(self) -> NDArray[np.intp]:
        """``(n_features,)``, 1 for the feature without which most is lost; equals share the first rank."""
        lost = levels(np.where(np.isfinite(self.r), 1 - self.r2, 1.0))
        return np.asarray(1 + np.searchsorted(np.sort(-lost), -lost), dtype=np.intp)


@checked
def without_each(embedding: ArrayLike, *, metric: Metric = "correlation", silenced: bool = True) -> Without:
    """The RDM without each single feature against the whole RDM.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, at least three images.
    metric
        ``"correlation"`` or ``"cosine"``.
    silenced
        The feature is set to 0. Otherwise it is left out: not in the RDM at all. For the cosine that is the
        same. With Pearson, an image's vector is centred over one number fewer if it is left out; so a feature
        that never fires changes nothing when it is silenced, and a little when it is left out.

    Returns
    -------
    Without
        An image that has no similarity without the feature, such as one for which no other feature fires,
        is left out there.

    Raises
    ------
    InputError
        For fewer than three images, NaN or infinite features.
    UnknownNameError
        For a metric that has no similarity.

    Notes
    -----
    Exact, without an RDM for each feature: in units of the norms of whole vectors, dropping feature f takes
    u_i v_j + v_i u_j off the similarity s_ij, and 2 u_i v_i off the squared norm 1. Time n²·F, memory n².
    """
    if metric not in (named := ("correlation", "cosine")):
        raise unknown("metric of a similarity", metric, list(named))
    features = check_embedding(embedding)
    n, p = features.shape
    unit, defined = unit_vectors(features, metric=metric)
    first, second = np.triu_indices(n, k=1)
    whole = (unit @ unit.T)[first, second]
    u, v = _dropped(features, unit, metric, silenced)
    left = defined[:, None] & ~_alone(features, metric, silenced)
    sums = np.zeros((6, p))
    for f in range(p):
        there = left[:, f]
        squares = 1 - 2 * u[:, f] * v[:, f]
        if (squares[there] < _LITTLE).any():  # too many digits would cancel: the long way
            kept = features.copy()
            kept[:, f] = 0
            kept = kept if silenced else np.delete(kept, f, axis=1)
            rest = unit_vectors(kept, metric=metric)[0]
            x = (rest @ rest.T)[first, second]
        else:
            norm = np.sqrt(np.where(there, squares, 1))
            x = whole - u[first, f] * v[second, f] - v[first, f] * u[second, f]
            x /= norm[first] * norm[second]
        use = there[first] & there[second]
        a, b = x[use] - 1, whole[use] - 1  # near 0 where images are alike
        sums[:, f] = len(a), a.sum(), a @ a, b.sum(), b @ b, a @ b
    return Without(correlation(PairSums(*sums)), np.count_nonzero(left, axis=0))


_LITTLE = 1e-6  # of a vector's squared norm


def _dropped(
    features: NDArray[np.float64], unit: NDArray[np.float64], metric: str, silenced: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is u and v, ``(n_images, n_features)``, of :func:`without_each`."""
    p = features.shape[1]
    if metric == "cosine":
        return unit, unit / 2
    if not silenced:
        return unit, unit * (p / max(1, p - 1)) / 2
    largest = np.abs(features).max(axis=1, keepdims=True)
    values = features / np.where(largest > 0, largest, 1)
    norm = np.linalg.norm(values - values.mean(axis=1, keepdims=True), axis=1, keepdims=True)
    values = np.where(unit.any(axis=1, keepdims=True), values / np.where(norm > 0, norm, 1), 0)
    return values, unit - values * (1 - 1 / p) / 2


def _alone(features: NDArray[np.float64], metric: str, silenced: bool) -> NDArray[np.bool_]:
    """``(n_images, n_features)``: where an image has no similarity without the feature. Tested exactly."""
    if metric == "cosine" or silenced:
        fires = features != 0
        return np.asarray(np.count_nonzero(fires, axis=1, keepdims=True) - fires == 0)
    p = features.shape[1]
    if p < 3:
        return np.ones(features.shape, dtype=bool)
    rising = np.sort(features, axis=1)
    least, most = rising[:, :1], rising[:, -1:]
    above, below = least == rising[:, -2:-1], rising[:, 1:2] == most  # but for one, all are equal
    return np.asarray((above & (features == most)) | (below & (features == least)))


@checked
def gini(values: ArrayLike) -> float:
    """How unequally something is spread over units: Gini's coefficient.

    Parameters
    ----------
    values
        ``(n_features,)``, ≥ 0, such as the information of every unit.

    Returns
    -------
    float
        0 where all have the same; 1 − 1/n where one of n has it all. NaN where none has any.

    Raises
    ------
    InputError
        For values that are negative or not finite, and for none.
    """
    rising = np.sort(_check_amounts(values))
    n = len(rising)
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float(weights @ rising / (n * rising.sum())) if rising.any() else float("nan")


@checked
def top_share(values: ArrayLike, *, share: float = 0.1) -> float:
    """How much of something those units have that have most of it.

    Parameters
    ----------
    values
        ``(n_features,)``, ≥ 0, such as the information of every unit.
    share
        Which share of the units, in (0, 1]. Of a unit that is in it in part, that part counts: layers of any
        width can be compared.

    Returns
    -------
    float
        In [`share`, 1]; `share` where all have the same. NaN where none has any.

    Raises
    ------
    InputError
        For values that are negative or not finite, for none, and for a share out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"share is one of the units, above 0 and at most 1; got {share!r}.")
    falling = np.sort(_check_amounts(values))[::-1]
    if not falling.any():
        return float("nan")
    part = np.clip(share * len(falling) - np.arange(len(falling)), 0, 1)  # of each unit
    return float(part @ falling / falling.sum())


@dataclass(frozen=True)
class Summary:
    """What a layer's units know of one property.

    Attributes
    ----------
    relative
        Median of I/H over the units that say anything, H > 0. It falls where a layer is *pruned* of the
        property (Muratore et al. 2022).
    gini, top_share
        How information I is spread over those units. They rise where it is *distilled*: few units hold it.
    n_dead
        Units with H = 0, which are in no other number.
    n_units
        All of them.
    """

    relative: float
    gini: float
    top_share: float
    n_dead: int
    n_units: int


@checked
def summary(information: ArrayLike, entropy: ArrayLike, *, share: float = 0.1) -> Summary:
    """What a layer's units know of one property, in a few numbers.

    Parameters
    ----------
    information
        ``(n_features,)``, bits, from :func:`information`.
    entropy
        ``(n_features,)``, bits, from :func:`entropy` of the same responses.
    share
        Of units that have most, in (0, 1].

    Returns
    -------
    Summary
        For its spread, corrected information below 0 is none; in the median it stays. NaN where all units
        are dead; for the spread also where none knows anything.

    Raises
    ------
    InputError
        For numbers that are not one per feature, finite, and entropies below 0.
    """
    known, most = (np.asarray(each, dtype=np.float64) for each in (information, entropy))
    finite = np.isfinite(known).all() and np.isfinite(most).all() and (most >= 0).all()
    if known.ndim != 1 or known.shape != most.shape or not finite:
        raise InputError(
            "information and entropy must be one finite number per feature, entropy at least 0; got shapes "
            f"{known.shape} and {most.shape}."
        )
    says = most > 0
    n_dead, nothing = len(says) - int(says.sum()), float("nan")
    if not says.any():
        return Summary(nothing, nothing, nothing, n_dead, len(says))
    bits = np.maximum(known[says], 0)
    relative = float(np.median(known[says] / most[says]))
    return Summary(relative, gini(bits), top_share(bits, share=share), n_dead, len(says))


def _columns(responses: NDArray[Any]) -> Iterator[slice]:
    """Units in parts whose responses stay in the processor's cache."""
    n, n_features = responses.shape
    width = max(16, _CHUNK // n)
    return (slice(start, start + width) for start in range(0, n_features, width))


def _halves(activations: NDArray[Any]) -> NDArray[np.uint8]:
    """Responses of some units; half by half as :func:`bins` has them, but of what is above 0."""
    rising, fires = np.sort(activations, axis=0), activations > 0
    n = np.count_nonzero(fires, axis=0)
    # The lower median of the positive values, which are last; units without any are 0 anyway.
    middle = np.minimum(len(activations) - n + (n - 1) // 2, len(activations) - 1)
    half = np.take_along_axis(rising, middle[None], axis=0)
    above = np.count_nonzero(activations > half, axis=0)
    below = n - np.count_nonzero(activations >= half, axis=0)
    return np.where(below > above, activations >= half, activations > half).astype(np.uint8) + fires


def _information(responses: NDArray[Any], stimulus: NDArray[np.intp], corrected: bool) -> NDArray[np.float64]:
    """Information of checked responses about a property in whole numbers from 0 on, all of which occur."""
    found = []
    for columns in _columns(responses):
        tables = _tables(stimulus[None], responses[:, columns])
        bits = _told(tables)[0]
        if corrected:
            each = np.count_nonzero(tables[0], axis=1) - 1
            over = each.sum(axis=0) - (np.count_nonzero(tables[0].any(axis=0), axis=0) - 1)
            bits -= over / (2 * len(responses) * np.log(2))
        found.append(bits)
    return np.concatenate(found)


def _tables(stimuli: NDArray[np.intp], responses: NDArray[Any]) -> NDArray[np.float64]:
    """How often which response goes with which value: ``(m, n_values, n_responses, n_features)``.

    `stimuli` is ``(m, n_images)``, all with the same values in other orders.
    """
    (m, n), n_features = stimuli.shape, responses.shape[1]
    sizes = np.bincount(stimuli[0])
    # A product with zeros and ones, exact below 2²⁴ images; what remains is no response at all.
    rows = stimuli.T + len(sizes) * np.arange(m)
    ones = np.ones(rows.size, dtype=np.float32)
    pick = sparse.csc_array((ones, rows.ravel(), m * np.arange(n + 1)), shape=(m * len(sizes), n))
    said = np.concatenate(
        [responses == r for r in range(1, responses.max() + 1)] or [responses[:, :0]], axis=1
    )
    counts = (pick @ said.astype(np.float32)).reshape(m, len(sizes), -1, n_features).astype(np.float64)
    silent = sizes[None, :, None, None] - counts.sum(axis=2, keepdims=True)
    return np.concatenate([silent, counts], axis=2)


def _told(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Information in each table, ``(m, n_features)``, bits: how far counts are from independence."""
    expected = tables[0].sum(axis=1, keepdims=True) * tables[0].sum(axis=0)  # the same for every order
    n = tables[0, :, :, 0].sum()
    return np.asarray(special.rel_entr(tables, expected / n).sum(axis=(1, 2)) / (n * np.log(2)))


def _both(first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.intp]:
    """Two properties as one: the pairs of values that occur, from 0 on."""
    return np.unique(first * (second.max() + 1) + second, return_inverse=True)[1]


def _check_responses(responses: ArrayLike) -> NDArray[Any]:
    given = np.asarray(responses)
    if given.ndim != 2 or given.dtype.kind not in "bui" or not given.size or given.min() < 0:
        raise InputError(
            "responses must be (n_images, n_features), whole numbers from 0 on, as from units.responses, for "
            f"an image and a feature at least; got {given.dtype} {given.shape}."
        )
    return given


def _check_stimulus(stimulus: ArrayLike, n: int) -> NDArray[np.intp]:
    """A property as whole numbers from 0 on, all of which occur."""
    given = np.asarray(stimulus)
    if given.shape != (n,) or (given.dtype.kind == "f" and not np.isfinite(given).all()):
        raise InputError(
            f"a property is one value per image, none missing: expected ({n},), got {given.dtype} "
            f"{given.shape}."
        )
    return np.unique(given, return_inverse=True)[1]


def _check_amounts(values: ArrayLike) -> NDArray[np.float64]:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not given.size or not (np.isfinite(given) & (given >= 0)).all():
        raise InputError(
            "values must be one finite number per feature, at least 0, for one feature or more; got shape "
            f"{given.shape}."
        )
    return given
