"""Groups of layers: whether a map of distances between layers has blocks, and more than a smooth chain has.

A map ``(n_layers, n_layers)`` holds a distance for every two layers (:func:`rarefire.transport.square_map`;
1 − CKA or 1 − R² of RDMs serve as well). Layers that change a little at every step give a map that darkens
towards its diagonal, in which every clustering finds blocks. So the rival of every block is a **smooth
chain**: a distance that rises with the number of layers between, in whatever way. The block model has two
distances, one within blocks and one between, and one number more for each cut. Both are fitted on one map,
and predict the map of *other* images (:func:`against_chain`).

A chain whose steps are *uneven* has no blocks either, but beats the even one about as often as not: of B > 0
alone it does not follow that there are blocks. Where blocks are real they predict no less than a chain does
that may go as far at each step as it wants (:attr:`Gain.b_uneven`). And one layer far from all others, such
as the pixels, makes a block of its own that outweighs everything else: look at the cuts, and leave it out.

What varies is the network's seed, never the pair of layers (:func:`seed_test`), and an untrained twin has
stages too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist

from rarefire._engine.arguments import checked
from rarefire.errors import InputError, unknown
from rarefire.inference import sign_flip, t_interval
from rarefire.rdm import condensed, square, unit_vectors
from rarefire.rounding import SAME, first_largest

__all__ = [
    "DIFFERENCES",
    "TOYS",
    "Agreement",
    "Choice",
    "Gain",
    "Partition",
    "SeedTest",
    "Spectral",
    "WaysTest",
    "against_chain",
    "best_blocks",
    "blocks",
    "choose",
    "cut_agreement",
    "seed_test",
    "spectral",
    "toy",
    "verdict",
    "ways_test",
    "without_large_norms",
]

#: Chains of layers of which the truth is known: three blocks, and none, by even and by uneven steps.
TOYS = ("blocks", "smooth", "uneven")

#: In what the three geometries of a toy can differ: who is near whom, how distances are distributed, or both.
DIFFERENCES = ("both", "who", "shape")

_Floats = NDArray[np.float64]
_Differ = Literal["both", "who", "shape"]
_Toy = Literal["blocks", "smooth", "uneven"]
_NEAR = 0.05  # of R², what is no difference
_MOST = 12  # blocks that are looked for where nobody says how many
_SHAPES = ((1, 0), (1, 0.3), (1, 1.5))  # of a plane, and of what is each image's own


# --- contiguous blocks ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Partition:
    """A chain of layers cut into blocks.

    Attributes
    ----------
    n_layers
        How many there are.
    cuts
        Of each block but the first, its first layer, counted from 0.
    within, between
        Mean distance of two layers of a block, and of different blocks. Both are the mean of all, where no
        blocks of that number are closer within than between, as for one block and for one for each layer.
    r2
        Share of the variance over pairs of layers that these two account for.
    """

    n_layers: int
    cuts: tuple[int, ...]
    within: float
    between: float
    r2: float

    @property
    def n_blocks(self) -> int:
        """One more than cuts."""
        return len(self.cuts) + 1

    @property
    def labels(self) -> NDArray[np.intp]:
        """``(n_layers,)``, the block of each layer, from 0 on."""
        return np.searchsorted(np.array(self.cuts, dtype=np.intp), np.arange(self.n_layers), side="right")

    @property
    def predicted(self) -> _Floats:
        """``(n(n-1)/2,)``, what the two distances predict for every pair, condensed."""
        i, j = np.triu_indices(self.n_layers, k=1)
        return np.where(self.labels[i] == self.labels[j], self.within, self.between)


@checked
def blocks(distances: ArrayLike, n_blocks: int) -> Partition:
    """The best partition of a chain into so many contiguous blocks.

    Parameters
    ----------
    distances
        ``(n_layers, n_layers)`` or condensed, of at least three layers, in the order of the chain.
    n_blocks
        From 1 to the layers.

    Returns
    -------
    Partition
        With the highest `r2` that there is, found by going through all of them: dynamic programming over the
        layers so far, blocks so far and pairs of layers within these. Of several, a same one every time.

    Raises
    ------
    InputError
        For a map that is not square and symmetric, of fewer than three layers, with NaN, infinite or negative
        distances, or all of whose distances are equal; and for another number of blocks.
    """
    values, n = _checked(distances)
    if not 1 <= n_blocks <= n:
        raise InputError(f"{n} layers make from 1 to {n} blocks; got {n_blocks}.")
    return _partitions(values, n, n_blocks)[-1]


@checked
def best_blocks(distances: ArrayLike, *, most: int | None = None) -> Partition:
    """The best partition of any number of blocks.

    Nothing but the fit is asked: with two distances however many blocks, more blocks are not better by
    themselves, and one for each layer explains nothing.

    Parameters
    ----------
    distances
        As for :func:`blocks`.
    most
        Largest number of blocks, at least 2; by default 12, or as many as layers.

    Returns
    -------
    Partition
        Of several, the one with fewest blocks.
    """
    values, n = _checked(distances)
    found = _partitions(values, n, _checked_most(most, n))
    return found[first_largest([p.r2 for p in found])]


@dataclass(frozen=True)
class Choice:
    """How many blocks, by what they predict of other images.

    Attributes
    ----------
    partitions
        The best of 1, 2, … blocks on the first map.
    r2
        ``(len(partitions),)``, R² of each on the other map; below 0 where its mean predicts more.
    best
        The partition of the highest; of several, of fewest blocks.
    """

    partitions: tuple[Partition, ...]
    r2: _Floats
    best: Partition


@checked
def choose(distances: ArrayLike, others: ArrayLike, *, most: int | None = None) -> Choice:
    """How many blocks a chain has, chosen on the map of other images.

    Parameters
    ----------
    distances
        As for :func:`blocks`: blocks of each number are found on this.
    others
        The map of the same layers for other images.
    most
        As for :func:`best_blocks`.

    Raises
    ------
    InputError
        As for :func:`blocks`, and for maps of different layers.
    """
    values, target, n = _both(distances, others)
    found = tuple(_partitions(values, n, _checked_most(most, n)))
    r2 = np.array([_r2(target, p.predicted) for p in found])
    return Choice(found, r2, found[first_largest(r2)])


# --- against a smooth chain ----------------------------------------------------------------------


@dataclass(frozen=True)
class Gain:
    """Blocks beside a smooth chain, both fitted on one map and predicting another.

    Attributes
    ----------
    partition
        The best on the first map, of any number of blocks.
    blocks, chain
        R² of the two on the other map.
    uneven
        R² of a chain of uneven steps: as `chain`, with the distances of neighbours on the first map added up
        in place of the number of layers between. Blocks are its limit, where a few steps are all there is.
    """

    partition: Partition
    blocks: float
    chain: float
    uneven: float

    @property
    def b(self) -> float:
        """B, `blocks` − `chain`: above 0 where blocks predict more."""
        return self.blocks - self.chain

    @property
    def b_uneven(self) -> float:
        """`blocks` − `uneven`: near 0 for blocks along a line, below for chains, however uneven.

        Above where going on along the chain leads no farther away, as beyond one layer that is far from all.
        """
        return self.blocks - self.uneven


@checked
def against_chain(distances: ArrayLike, others: ArrayLike, *, most: int | None = None) -> Gain:
    """Whether blocks predict the map of other images better than a smooth chain does.

    Parameters
    ----------
    distances, others, most
        As for :func:`choose`. All that is fitted, the number of blocks too, is fitted on the first.

    Returns
    -------
    Gain
        The chain is a distance that never falls with the number of layers between, by isotonic regression.

    Raises
    ------
    InputError
        As for :func:`choose`.
    """
    from sklearn.isotonic import IsotonicRegression  # slow to import

    values, target, n = _both(distances, others)
    found = best_blocks(square(values), most=most)
    i, j = np.triu_indices(n, k=1)
    along = np.append(0, square(values).diagonal(1).cumsum())
    fits = (IsotonicRegression().fit_transform(apart, values) for apart in (j - i, along[j] - along[i]))
    return Gain(found, *(_r2(target, predicted) for predicted in (found.predicted, *fits)))


@checked
def verdict(gain: Gain) -> str:
    """What :func:`against_chain` found, in words: whether there are blocks."""
    numbers = (
        f"On the other images blocks predict R² = {gain.blocks:.2f} of the distances, a smooth chain "
        f"{gain.chain:.2f} (B = {gain.b:+.2f}), one of uneven steps {gain.uneven:.2f} "
        f"(b_uneven = {gain.b_uneven:+.2f})"
    )
    if gain.partition.n_blocks == 1:
        return f"{numbers}: there are no blocks."
    if gain.b <= 0:
        return f"{numbers}: layers that change a little at every step explain them no worse than blocks."
    if gain.b_uneven < -_NEAR:
        return f"{numbers}: more than a smooth chain, less than one that takes larger steps here and there."
    return (
        f"{numbers}: more than a smooth chain and no less than one of uneven steps, as blocks do. Whether "
        "training made them, only other seeds and an untrained twin can say."
    )


@dataclass(frozen=True)
class SeedTest:
    """Whether networks have blocks, over seeds.

    Attributes
    ----------
    trained, twin
        Mean B of the networks and of their twins.
    estimate, low, high, level
        Mean difference of B, with its t interval over seeds.
    p_chain, p_twin
        One-sided, by flipping signs: that B is above 0, and above that of the twins.
    p
        Their maximum. Two smooth chains may differ in B as well, so that both are needed.
    n
        Seeds. No p is below 2⁻ⁿ.
    """

    trained: float
    twin: float
    estimate: float
    low: float
    high: float
    level: float
    p_chain: float
    p_twin: float
    p: float
    n: int


@checked
def seed_test(
    trained: ArrayLike, twins: ArrayLike, *, rng: np.random.Generator, level: float = 0.95
) -> SeedTest:
    """Test that blocks predict more than a smooth chain, and more so than before training.

    Of 64 simulated studies of six seeds, beside smooth twins, none (with more noise 2) of smooth chains were
    rejected at .05, and all (61) of three blocks; but also half of chains with uneven steps that are the same
    in all seeds, as those of one architecture would be (:mod:`rarefire.records.block_tests`). Report
    :attr:`Gain.b_uneven` beside it, which tells the two apart where there is little noise.

    Parameters
    ----------
    trained, twins
        ``(n_seeds,)``, B of each network (:attr:`Gain.b`), and of its twin without training.
    rng
        Flips signs, where there are too many seeds to go through all flips.
    level
        Of the interval.

    Raises
    ------
    InputError
        For fewer than five seeds, of which no p can be below .05 (2⁻⁵ is .03), twins of another number, and
        values that are NaN or infinite.
    """
    b, own = (np.asarray(v, dtype=np.float64) for v in (trained, twins))
    if b.shape != own.shape or b.ndim != 1 or len(b) < 5:
        raise InputError(
            f"B of at least five seeds and of as many twins are needed; got {b.shape} and {own.shape}."
        )
    if not (np.isfinite(b).all() and np.isfinite(own).all()):
        raise InputError("B is NaN or infinite for some seeds.")
    differences, n = b - own, len(b)
    se = float(differences.std(ddof=1) / np.sqrt(n))
    low, high, _ = map(float, t_interval(differences.mean(), se, n - 1, level=level))
    p_chain, p_twin = (sign_flip(v, rng=rng, alternative="greater") for v in (b, differences))
    of_b, of_twins, estimate = (float(v.mean()) for v in (b, own, differences))
    p = max(p_chain, p_twin)
    return SeedTest(of_b, of_twins, estimate, low, high, level, p_chain, p_twin, p, n)


@dataclass(frozen=True)
class Agreement:
    """Whether seeds cut at the same places.

    Attributes
    ----------
    counts
        ``(n_layers − 1,)``, seeds with a cut before layer 1, 2, ….
    shared
        Of the cuts that two seeds could share (the fewer of the two have), the share that they do, over all
        pairs of seeds; NaN where there are none.
    chance
        Its mean if every seed had as many cuts at random places.
    p
        That as many are shared at random places.
    """

    counts: NDArray[np.intp]
    shared: float
    chance: float
    p: float


@checked
def cut_agreement(
    cuts: Sequence[Sequence[int]], *, n_layers: int, rng: np.random.Generator, n_draws: int = 9999
) -> Agreement:
    """Whether seeds cut a chain at the same places more often than cuts at random places would.

    Stages of a network are the same for all of its seeds, before training too: ask the twins as well.

    Parameters
    ----------
    cuts
        Of each of at least two seeds, as :class:`Partition` has them.
    n_layers
        Of the chain.
    rng, n_draws
        Random places: of every seed as many as it has, all equally likely.

    Raises
    ------
    InputError
        For fewer than two seeds, cuts that are none (from 1 to ``n_layers − 1``, each once), and fewer than
        one draw.
    """
    if len(cuts) < 2 or n_draws < 1:
        raise InputError(f"at least two seeds and one draw are needed; got {len(cuts)} and {n_draws}.")
    for own in cuts:
        if len(set(own)) < len(own) or not all(0 < cut < n_layers for cut in own):
            raise InputError(f"cuts of {n_layers} layers lie from 1 to {n_layers - 1}, each once; got {own}.")
    places, numbers = n_layers - 1, np.array([len(own) for own in cuts])
    counts = np.bincount([cut - 1 for own in cuts for cut in own], minlength=places)
    drawn = np.zeros((n_draws, places), dtype=np.intp)
    for number in numbers:
        drawn += rng.random((n_draws, places)).argsort(axis=1) < number
    said, random = ((c * (c - 1)).sum(axis=-1) // 2 for c in (counts, drawn))
    i, j = np.triu_indices(len(numbers), k=1)
    possible = np.minimum(numbers[i], numbers[j]).sum()
    expected = (numbers[i] * numbers[j]).sum() / places
    shared, chance = (float(v / possible) if possible else float("nan") for v in (said, expected))
    p = float((1 + np.count_nonzero(random >= said)) / (1 + n_draws))
    return Agreement(counts, shared, chance, p)


@dataclass(frozen=True)
class WaysTest:
    """Whether the maps of networks that came about in two ways differ.

    Attributes
    ----------
    between, within
        Root mean square difference of the maps of two networks, of different ways and of one, in the unit of
        the maps.
    p
        That `between` exceeds `within` by as much where ways are shuffled over networks.
    n
        Networks of each way.
    """

    between: float
    within: float
    p: float
    n: tuple[int, int]


@checked
def ways_test(
    first: ArrayLike, second: ArrayLike, *, rng: np.random.Generator, n_permutations: int = 9999
) -> WaysTest:
    """Whether networks that were trained in two ways have different maps of their layers.

    Parameters
    ----------
    first, second
        ``(n_networks, n_layers, n_layers)``, maps of at least three networks of each way.
    rng, n_permutations
        Networks are shuffled so often; where there are fewer ways to divide them, all are gone through. Of
        six networks each there are 462, so that no p is below .0022.

    Raises
    ------
    InputError
        For fewer networks, maps of different layers or with NaN, and fewer than one permutation.

    Notes
    -----
    The statistic is that of an energy distance (Székely & Rizzo 2013). Networks of one seed that begin with
    the same weights are more alike than others, across ways too, which makes the test the more careful.

    References
    ----------
    Székely, G. J., & Rizzo, M. L. (2013). Energy statistics: A class of statistics based on distances.
    *Journal of Statistical Planning and Inference*, 143, 1249–1272.
    """
    a, b = (np.asarray(maps, dtype=np.float64) for maps in (first, second))
    if a.ndim != 3 or a.shape[1:] != b.shape[1:] or min(len(a), len(b)) < 3 or n_permutations < 1:
        raise InputError(
            "maps (n_networks, n_layers, n_layers) of at least three networks of each way, of the same "
            f"layers, and one permutation are needed; got {a.shape}, {b.shape} and {n_permutations}."
        )
    values = np.stack([_checked(one)[0] for one in (*a, *b)])
    apart = square(pdist(values) / np.sqrt(values.shape[1]))
    n, total = len(a), len(values)
    every = math.comb(total, n)
    if every <= n_permutations:
        chosen = np.zeros((every, total))
        for row, own in zip(chosen, combinations(range(total), n), strict=True):
            row[[*own]] = 1
    else:
        drawn = rng.random((n_permutations, total)).argsort(axis=1) < n
        chosen = np.vstack([np.arange(total) < n, drawn]).astype(np.float64)
    other = 1 - chosen
    across = ((chosen @ apart) * other).sum(axis=1) / (n * (total - n))
    inside = [
        ((own @ apart) * own).sum(axis=1) / (k * (k - 1)) for own, k in ((chosen, n), (other, total - n))
    ]
    within = (inside[0] + inside[1]) / 2
    excess = across - within
    p = float(np.mean(excess >= excess[0] - SAME * apart.max()))
    return WaysTest(float(across[0]), float(within[0]), p, (n, total - n))


# --- clusters that need not be contiguous --------------------------------------------------------


@dataclass(frozen=True)
class Spectral:
    """Clusters of layers.

    Attributes
    ----------
    labels
        ``(n_layers,)``, from 0 on in the order in which they appear.
    eigenvalues
        ``(n_layers,)``, of the normalised affinities, falling from 1.
    """

    labels: NDArray[np.intp]
    eigenvalues: _Floats

    @property
    def n_clusters(self) -> int:
        """How many there are."""
        return int(self.labels.max()) + 1

    @property
    def contiguous(self) -> bool:
        """Whether each is a block of the chain."""
        return bool(np.count_nonzero(np.diff(self.labels)) == self.n_clusters - 1)


@checked
def spectral(
    distances: ArrayLike, *, n_clusters: int | None = None, seed: int = 0, most: int | None = None
) -> Spectral:
    """Spectral clustering of layers, which knows nothing of their order.

    Parameters
    ----------
    distances
        As for :func:`blocks`, not squared: affinities are exp(−d²/2σ²), with σ the median of them.
    n_clusters
        From 2 to the layers less one; by default the largest gap between neighbouring eigenvalues.
    seed
        Of the eigensolver's start.
    most
        Largest number to choose from, as for :func:`best_blocks`.

    Returns
    -------
    Spectral
        There are always at least two clusters: with the median as σ no layers are far apart, and the first
        gap is the largest for every map. Whether there is more than one is not for it to say.

    Raises
    ------
    InputError
        As for :func:`blocks`; for fewer than four layers, another number of clusters, and where half of the
        distances are 0.
    """
    from sklearn.cluster import SpectralClustering  # slow to import

    values, n = _checked(distances)
    if n < 4:
        raise InputError(f"clusters need at least four layers; got {n}.")
    sigma = float(np.median(values))
    if not sigma:
        raise InputError("the median distance is 0: there is no scale for affinities.")
    affinities = np.exp(-(square(values) ** 2) / (2 * sigma**2))
    root = np.sqrt(affinities.sum(axis=1))
    eigenvalues = np.linalg.eigvalsh(affinities / root / root[:, None])[::-1]
    if n_clusters is None:
        gaps = -np.diff(eigenvalues[1 : min(_checked_most(most, n), n - 1) + 1])
        n_clusters = 2 + first_largest(gaps)
    if not 2 <= n_clusters < n:
        raise InputError(f"{n} layers make from 2 to {n - 1} clusters; got {n_clusters}.")
    options = {"affinity": "precomputed", "assign_labels": "cluster_qr", "random_state": seed}
    found = SpectralClustering(n_clusters, **options).fit_predict(affinities)
    _, first, own = np.unique(found, return_index=True, return_inverse=True)
    return Spectral(first.argsort().argsort()[own], eigenvalues)


# --- controls and toys ---------------------------------------------------------------------------


@checked
def without_large_norms(
    layers: Mapping[str, ArrayLike], *, share: float = 0.05, normalised: bool = True
) -> tuple[dict[str, _Floats], NDArray[np.intp]]:
    """Layers without the images that are largest in them: blocks of a map may be these images' alone.

    Nguyen et al. (2022) found that blocks in maps of CKA come from few images of large norms, which are
    others in every seed.

    Parameters
    ----------
    layers
        Layer -> ``(n_images, …)``, of the same images in the same order.
    share
        Of the images that are left out, in [0, 1), rounded up: those with the largest norm, as a multiple of
        the layer's median, in any layer.
    normalised
        Divide each image's features by their norm. An image whose features are all 0 stays at 0.

    Returns
    -------
    layers, kept
        Layer -> ``(n_kept, n_features)`` float64; and which images are left.

    Raises
    ------
    InputError
        For no layers, different images, NaN or infinite features, another share, and where no more than four
        images are left.

    References
    ----------
    Nguyen, T., Raghu, M., & Kornblith, S. (2022). On the origins of the block structure phenomenon in neural
    network representations. *TMLR*.
    """
    flat = {
        name: np.asarray(x, dtype=np.float64).reshape(len(np.asarray(x)), -1) for name, x in layers.items()
    }
    counts = {name: len(x) for name, x in flat.items()}
    if len(set(counts.values())) != 1:
        raise InputError(f"all layers need the same images; got {counts or 'no layers'}.")
    for name, x in flat.items():
        if not np.isfinite(x).all():
            raise InputError(f"{name}: features are NaN or infinite.")
    if not 0 <= share < 1:
        raise InputError(f"share of the images to leave out lies in [0, 1); got {share}.")
    n = next(iter(counts.values()))
    out = int(np.ceil(share * n - SAME * n))
    if n - out < 4:
        raise InputError(f"without {out} of {n} images, {n - out} are left; at least four are needed.")
    norms = np.stack([np.linalg.norm(x, axis=1) for x in flat.values()])
    scale = np.median(norms, axis=1, keepdims=True)
    largest = np.divide(norms, scale, out=np.zeros_like(norms), where=scale > 0).max(axis=0)
    kept = np.sort(np.argsort(largest, kind="stable")[: n - out])
    return {
        name: unit_vectors(x[kept], metric="cosine")[0] if normalised else x[kept] for name, x in flat.items()
    }, kept


@checked
def toy(
    kind: _Toy,
    *,
    rng: np.random.Generator,
    n_images: int = 60,
    n_layers: int = 12,
    noise: float = 0.3,
    differ: _Differ = "both",
    steps: ArrayLike | None = None,
) -> list[_Floats]:
    """Layers of a network that has three blocks, or that changes a little at every step.

    Parameters
    ----------
    kind
        ``"blocks"``: three, of as equal numbers of layers as can be. ``"smooth"``: from the first of their
        geometries to the second and on to the third, by equal steps. ``"uneven"``: by steps that are
        exponentially distributed.
    rng
        Draws images, mixtures and noise.
    n_images, n_layers
        At least four, and at least six.
    noise
        Standard deviation of what each layer adds of its own, with that of what it is about 1; up to 1.6 with
        ``"shape"``.
    differ
        In what the three geometries differ, of :data:`DIFFERENCES`. ``"both"``: in nothing are they alike. A
        plane; five tight clusters; sixteen dimensions. ``"who"``: who is where. A plane, on which images
        change places. ``"shape"``: how distances are distributed. A plane, and beside it none, some and much
        of what is each image's own.
    steps
        ``(n_layers − 1,)``, how far ``"uneven"`` goes from each layer to the next, in any unit; by default
        they are drawn. To give several networks the same.

    Returns
    -------
    list of ndarray
        Of each layer ``(n_images, n_features)``; widths differ.

    Raises
    ------
    UnknownNameError
        For another kind, or another difference.
    InputError
        For fewer images or layers, noise below 0, and steps that are none.

    Notes
    -----
    A layer mixes two geometries of the same images. What measures of layers can see of them:

    * Gromov–Wasserstein does not know which image is which, but sees how distances are distributed. With
      ``"who"`` it is blind: the geometries are the same set of points, for all images, for every second one
      and for those between. What a solver finds from the identity plan on is not: with noise it stays there
      between layers of a block, and between blocks it misses the order that would be as good.
    * CKA sees who is near whom, up to the unit and the origin of squared distances. What is each image's own
      shifts that origin: with ``"shape"`` it is all but blind, and would be wholly so if that had many more
      than thirty dimensions. Correlation and cosine RDMs are of unit vectors, and see some of it.
    """
    if kind not in TOYS:
        raise unknown("toy", kind, list(TOYS))
    if differ not in DIFFERENCES:
        raise unknown("difference", differ, list(DIFFERENCES))
    if n_images < 4 or n_layers < 6 or noise < 0:
        raise InputError(
            "a toy has at least four images, six layers and noise of at least 0; "
            f"got {n_images}, {n_layers} and {noise}."
        )
    parts, mixtures = _geometries(differ, n_images, rng)
    if kind == "blocks":
        places = np.arange(n_layers) * 3 // n_layers
    else:
        drawn = kind == "uneven" and steps is None
        along = rng.exponential(size=n_layers - 1) if drawn else _checked_steps(steps, kind, n_layers - 1)
        places = 2 * np.append(0, along.cumsum()) / along.sum()
    layers = []
    for at in places:
        shares = np.sqrt(np.maximum(1 - np.abs(at - np.arange(3)), 0) @ mixtures)
        mixed = np.concatenate([s * g for s, g in zip(shares, parts, strict=True)], axis=1)
        width = int(rng.integers(32, 65))
        turned = mixed @ np.linalg.qr(rng.normal(size=(width, mixed.shape[1])))[0].T
        layers.append(turned + noise / np.sqrt(width) * rng.normal(size=(n_images, width)))
    return layers


# --- helpers -------------------------------------------------------------------------------------


def _geometries(differ: _Differ, n: int, rng: np.random.Generator) -> tuple[list[_Floats], _Floats]:
    """Parts of unit variance, and how much of each makes the three geometries, ``(3, n_parts)``."""
    if differ == "both":
        centres = rng.normal(size=(5, 8))[rng.integers(0, 5, n)]
        parts = [
            rng.normal(size=(n, 2)),
            centres + 0.1 * rng.normal(size=centres.shape),
            rng.normal(size=(n, 16)),
        ]
    elif differ == "who":
        plane, order = rng.normal(size=(n, 2)), np.arange(n)
        parts = [plane]
        for _ in range(2):
            for half in (order[::2], order[1::2]):
                rng.shuffle(half)
            parts.append(plane[order])
    else:
        parts = [rng.normal(size=(n, 2)), rng.normal(size=(n, 30))]
    mixtures = np.array(_SHAPES) if differ == "shape" else np.eye(3)
    return [g / np.sqrt(g.var(axis=0).sum()) for g in parts], mixtures


def _checked_steps(steps: ArrayLike | None, kind: _Toy, n: int) -> _Floats:
    if steps is None:
        return np.ones(n)
    given = np.asarray(steps, dtype=np.float64)
    if (
        kind != "uneven"
        or given.shape != (n,)
        or not (np.isfinite(given) & (given >= 0)).all()
        or not given.any()
    ):
        raise InputError(
            f"steps are of an uneven toy: {n} from layer to layer, at least 0 and not all 0; "
            f"got {given.shape} for {kind}."
        )
    return given


def _partitions(values: _Floats, n: int, most: int) -> list[Partition]:
    """The best of 1, 2, …, `most` blocks, from condensed distances."""
    pairs, total = len(values), float(values.sum())
    inside = np.zeros((n + 1, n + 1))  # sums of distances within the first so many layers, twice
    inside[1:, 1:] = square(values).cumsum(axis=0).cumsum(axis=1)
    tie = SAME * total
    # least[k, e, p]: the smallest sum of distances within k blocks of the first e layers that hold p pairs.
    least = np.full((most + 1, n + 1, pairs + 1), np.inf)
    start = np.zeros(least.shape, dtype=np.int16)  # of the last of these blocks
    least[0, 0, 0] = 0
    for end in range(1, n + 1):
        for begin in range(end):
            size = end - begin
            own = size * (size - 1) // 2
            within = inside[end, end] - 2 * inside[begin, end] + inside[begin, begin]
            found = least[:-1, begin, : pairs + 1 - own] + within / 2
            known = least[1:, end, own:]
            better = np.isfinite(found) & ~(found >= known - tie)
            known[better] = found[better]
            start[1:, end, own:][better] = begin
    counts = np.arange(pairs + 1)
    mean, variance = total / pairs, float(((values - values.mean()) ** 2).sum())
    partitions = []
    for k in range(1, most + 1):
        sums = least[k, n]
        with np.errstate(divide="ignore", invalid="ignore"):
            within, between = sums / counts, (total - sums) / (pairs - counts)
            gain = counts * (within - mean) ** 2 + (pairs - counts) * (between - mean) ** 2
        closer = (counts > 0) & (counts < pairs) & (within < between - SAME * mean)
        gain = np.where(np.isfinite(sums), np.where(closer, gain, 0.0), np.nan)
        p = first_largest(gain)
        blocked = bool(gain[p] > 0)
        end, held, cuts = n, p, []
        for left in range(k, 1, -1):
            begin = int(start[left, end, held])
            cuts.append(begin)
            held -= (end - begin) * (end - begin - 1) // 2
            end = begin
        two = (float(within[p]), float(between[p])) if blocked else (mean, mean)
        partitions.append(Partition(n, tuple(cuts[::-1]), *two, float(gain[p]) / variance))
    return partitions


def _r2(values: _Floats, predicted: _Floats) -> float:
    return float(1 - ((values - predicted) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def _checked(distances: ArrayLike) -> tuple[_Floats, int]:
    """A map, condensed, and of how many layers it is."""
    values = condensed(distances)
    n = len(square(values)) if len(values) else 1
    if n < 3:
        raise InputError(f"a map of blocks needs at least three layers; got {n}.")
    if not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise InputError(f"{bad} distances between layers are NaN or infinite. Leave those layers out.")
    if values.min() < 0:
        raise InputError(f"distances are at least 0; got {values.min():.3g}. Of similarities take 1 − s.")
    if np.ptp(values) <= SAME * values.max():
        raise InputError("all distances between layers are equal: there is nothing to explain.")
    return values, n


def _both(distances: ArrayLike, others: ArrayLike) -> tuple[_Floats, _Floats, int]:
    (values, n), (target, m) = _checked(distances), _checked(others)
    if n != m:
        raise InputError(f"both maps are of the same layers; got {n} and {m}.")
    return values, target, n


def _checked_most(most: int | None, n: int) -> int:
    if most is None:
        return min(_MOST, n)
    if not 2 <= most <= n:
        raise InputError(f"most is a number of blocks from 2 to the {n} layers; got {most}.")
    return most
