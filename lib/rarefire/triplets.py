"""Triplets: which of A and B looks more like R? Answers of people, and of a network by its distances.

``materials``
    100 pictures of materials, 25,801 triplets, 1 to 10 answers to each (Lagunas et al. 2019).

The unit of replication is the image: a triplet is made of three, and so are hundreds of others with them.
A test that counts triplets rejects far too often, as one that counts pairs does (:mod:`rarefire.inference`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse

from rarefire import inference, judgments, ratings, rdm, stimuli, store
from rarefire._engine import blocks, influences, pairs
from rarefire._engine.arguments import checked
from rarefire._engine.resampling import jackknife_variance
from rarefire.choices import Choices
from rarefire.curves import check_order, check_steps
from rarefire.errors import DataError, InputError, unknown
from rarefire.rdm import Metric
from rarefire.rounding import SAME, TIE
from rarefire.stimuli import Stimuli

__all__ = [
    "NAMES",
    "AgreementCurve",
    "By",
    "Ceiling",
    "Split",
    "Triplets",
    "agreement",
    "agreement_curve",
    "available",
    "ceiling",
    "change_of_agreement",
    "compare",
    "load",
    "odd_one_out",
    "of_choices",
    "outcomes",
    "read",
]

By = Literal["majorities", "votes"]
Split = Literal["all", "train", "test"]

NAMES = ["materials"]

_FILES = ("materials100/triplets.npz", "materials100/images")
_CONTENT = "7a83e10ac3283045a28931e67249739b1e0ae141d42f315dd605deeacae4e394"
_METHOD = "J−, delete-one-image jackknife that counts pairs and triplets once, t with n − 1 df"
_MOST = influences.MOST
_NUMBERS = 2**24  # influences at once
_FAINT = 1e-9  # eigenvalues below that share of the largest are 0: images whose effects are not told apart


@dataclass(frozen=True, eq=False)
class Triplets:
    """What people answered: which of two images looks more like a third.

    Attributes
    ----------
    name
        The name it was loaded by.
    images
        The n images, or None where they are not at hand.
    names
        ``(n,)``, of the images.
    triplets
        ``(n_triplets, 3)`` int: R, what most people chose, and the other, as numbers of images.
    votes
        ``(n_triplets, 2)`` int: how many chose that, and the other. As many for both: no majority.
    citation, licence
        Of the data.
    source
        What it is, for captions.
    """

    name: str
    images: Stimuli | None
    names: tuple[str, ...]
    triplets: NDArray[np.intp]
    votes: NDArray[np.intp]
    citation: str
    licence: str
    source: str

    def __post_init__(self) -> None:
        for what, width in (("triplets", 3), ("votes", 2)):
            given = np.asarray(getattr(self, what))
            if given.ndim != 2 or given.shape[1] != width or not len(given) or given.dtype.kind not in "iu":
                raise InputError(
                    f"{what} are whole numbers, (n_triplets, {width}); got {given.dtype} {given.shape}."
                )
            object.__setattr__(self, what, given.astype(np.intp))
        if len(self.triplets) != len(self.votes):
            raise InputError(f"there are {len(self.triplets)} triplets and votes for {len(self.votes)}.")
        outside = (self.triplets < 0) | (self.triplets >= self.n)
        if outside.any():
            raise InputError(
                f"triplets name images by numbers from 0 to {self.n - 1}; got {self.triplets[outside][0]}."
            )
        r, a, b = self.triplets.T
        repeated = (r == a) | (r == b) | (a == b)
        if repeated.any():
            t = int(repeated.argmax())
            raise InputError(
                f"a triplet is of three different images; triplet {t} is {self.triplets[t].tolist()}."
            )
        wrong = (self.votes[:, 1] < 0) | (self.votes[:, 0] < self.votes[:, 1]) | (self.votes[:, 0] == 0)
        if wrong.any():
            t = int(wrong.argmax())
            raise InputError(
                "the majority's choice comes first, with at least one vote; triplet "
                f"{t} has votes {self.votes[t].tolist()}."
            )
        if self.images is not None and len(self.images) != self.n:
            raise InputError(f"there are {len(self.images)} images and {self.n} names.")

    def __len__(self) -> int:
        return len(self.triplets)

    def __repr__(self) -> str:
        what = "" if self.images is not None else " (not at hand)"
        return (
            f"<{self.name}: {self.n} images{what}, {len(self):,} triplets, {self.votes.sum():,} answers, "
            f"{(~self.decided).sum():,} tied>"
        )

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.names)

    @property
    def decided(self) -> NDArray[np.bool_]:
        """``(n_triplets,)``: whether there is a majority."""
        return np.asarray(self.votes[:, 0] > self.votes[:, 1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of triplets, votes and images."""
        given: list[NDArray[Any]] = [self.triplets.astype(np.int64), self.votes.astype(np.int64)]
        return store.array_digest(*given, *([self.images.images] if self.images is not None else []))


# --- by name -------------------------------------------------------------------------------------


def load(name: str, *, size: int | None = None, split: Split = "all") -> Triplets:
    """Load triplets by name.

    Parameters
    ----------
    name
        One of :data:`NAMES`.
    size
        Height and width of the images, in pixels; 298 by default.
    split
        The study's own: its authors trained a network on ``"train"`` (22,801 triplets) and tested it on
        ``"test"`` (3,000, of the same images). Where nothing is fitted to the answers, ``"all"`` may be
        used. No triplet is in both.

    Raises
    ------
    UnknownNameError
        For a name or a split that does not exist.
    DataError
        Where the files are missing or damaged; the message says where they come from.
    """
    if name not in NAMES:
        raise unknown("set of triplets", name, NAMES)
    if split not in get_args(Split):
        raise unknown("split", split, list(get_args(Split)))
    judgments.check_size(size)
    found, root = map(store.at_hand, _FILES)
    if found is None or root is None:
        raise DataError(
            "'materials' is not on this machine (materials100/ in RAREFIRE_MIRROR or the cache), and is not "
            "downloaded: from data/ of github.com/mlagunas/material-appearance-similarity, put the 100 "
            "pictures of havran1_ennis_298x298_LDR into materials100/images/, and into "
            "materials100/triplets.npz their file names (names), and of answers_processed_train.json and "
            "answers_processed_test.json the triplets (train_triplets, test_triplets: R, the majority's "
            "choice, the other, as rows of names) and their agreement (train_votes, test_votes)."
        )
    parts = [f"{part}_{what}" for what in ("triplets", "votes") for part in ("train", "test")]
    names, *numbers = judgments.arrays(found, "names", *parts)
    files = [root / str(file) for file in names]
    content = "".join(f"{file.name} {store.file_digest(store.check_file(file))}\n" for file in files)
    bytes_ = np.frombuffer(content.encode(), dtype=np.uint8)
    judgments.check_content(name, found.parent, _CONTENT, bytes_, *(a.astype(np.int64) for a in numbers))
    chosen = {"all": (0, 1), "train": (0,), "test": (1,)}[split]
    triplets, votes = (np.concatenate([part[i] for i in chosen]) for part in (numbers[:2], numbers[2:]))
    pixels = stimuli.pictures(files, root, size=size, resize=size)
    shown = "pictures of materials (Lagunas et al. 2019)"
    part = "" if split == "all" else f" ({split} split)"
    return Triplets(
        name=name,
        images=stimuli.in_categories(pixels, ["material"] * len(files), name=name, source=shown),
        names=tuple(file.stem for file in files),
        triplets=triplets,
        votes=votes,
        citation="Lagunas, Malpica, Serrano, Garces, Gutierrez & Masia (2019). A similarity measure for "
        "material appearance. ACM Transactions on Graphics 38(4):135.",
        licence="GPL-2",
        source=f"which of two materials looks more like a third: {len(triplets):,} triplets of {len(files)} "
        f"pictures, {votes.sum():,} answers{part} (Lagunas et al. 2019)",
    )


def available(name: str) -> bool:
    """Whether `name` can be loaded from this machine."""
    if name not in NAMES:
        raise unknown("set of triplets", name, NAMES)
    return all(store.at_hand(file) is not None for file in _FILES)


# --- your own ------------------------------------------------------------------------------------


@checked
def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    size: int | None = None,
    subject: str | None = None,
    choice: str | None = None,
) -> Triplets:
    """Triplets, or odd-one-out trials as triplets, from a table with one in each line.

    Parameters
    ----------
    path, images, size, subject
        As for :func:`rarefire.ratings.read`.
    choice
        Name of the column that says which image was chosen, where it has another.

    Raises
    ------
    DataError, InputError
        As for :func:`rarefire.ratings.read_choices`.
    """
    options: dict[str, Any] = {"images": images, "size": size, "subject": subject, "rating": choice}
    return of_choices(ratings.read_choices(path, **options))


def of_choices(given: Choices) -> Triplets:
    """Choices among three images, counted over all who answered.

    An odd-one-out choice makes two triplets: each of the two that stayed together is more like the other
    than like the odd one.
    """
    n = len(given.names)
    r, chosen, other = given.comparisons.T
    low, high = np.minimum(chosen, other), np.maximum(chosen, other)
    codes, which = np.unique((r * n + low) * n + high, return_inverse=True)
    for_low = np.bincount(which, weights=chosen == low, minlength=len(codes)).astype(np.intp)
    total = np.bincount(which, minlength=len(codes))
    asked = np.column_stack([codes // n**2, codes // n % n, codes % n])
    votes = np.column_stack([for_low, total - for_low])
    swap = votes[:, 0] < votes[:, 1]
    asked[swap], votes[swap] = asked[swap][:, [0, 2, 1]], votes[swap][:, ::-1]
    return Triplets(
        name=given.name,
        images=given.images,
        names=given.names,
        triplets=asked,
        votes=votes,
        citation="own data",
        licence="own data",
        source=f"which of two images looks more like a third: {len(given):,} {given.what} of {n} images",
    )


@checked
def odd_one_out(dissimilarities: ArrayLike, given: Choices) -> float:
    """How often dissimilarities leave the same image out as people do: it is in none of the closest pair.

    Parameters
    ----------
    dissimilarities
        Of the n images, condensed ``(n(n-1)/2,)`` or square ``(n, n)``.
    given
        Odd-one-out trials.

    Returns
    -------
    float
        In [0, 1], a share of trials; chance is 1/3. Where m pairs are as close, each counts 1/m.

    Raises
    ------
    InputError
        For triplets, another number of images, and where a dissimilarity that is asked for is not finite.
    """
    if given.columns.kind != "odd-one-out":
        raise InputError(f"{given.name!r} holds {given.what}, not odd-one-out trials: agreement takes those.")
    n, values = len(given.names), rdm.condensed(dissimilarities)
    if len(values) != n * (n - 1) // 2:
        raise InputError(f"the dissimilarities are of {len(values)} pairs; {given.name!r} has {n} images.")
    a, b, odd = given.trials.T
    pairs_shown = [(a, b), (a, odd), (b, odd)]
    found = np.stack([values[_place(np.minimum(i, j), np.maximum(i, j), n)] for i, j in pairs_shown])
    bad = ~np.isfinite(found).all(axis=0)
    if bad.any():
        raise InputError(
            f"{bad.sum():,} of {len(given):,} trials ask for a dissimilarity that is not finite."
        )
    closest = found <= found.min(axis=0) + SAME * np.abs(values[np.isfinite(values)]).max()
    return float((closest[0] / closest.sum(axis=0)).mean())


# --- agreement -----------------------------------------------------------------------------------


@checked
def outcomes(dissimilarities: ArrayLike, given: Triplets) -> NDArray[np.float64]:
    """Whether dissimilarities agree with each majority.

    Parameters
    ----------
    dissimilarities
        Of the n images, condensed ``(n(n-1)/2,)`` or square ``(n, n)``.
    given
        What people answered.

    Returns
    -------
    ndarray
        ``(n_triplets,)``: 1 where what most people chose is less dissimilar to R than the other, 0 where it
        is more, 0.5 where both are as dissimilar (up to rounding): a tie. Where people are tied, so is
        which of the two comes first.

    Raises
    ------
    InputError
        For another number of images, and where a dissimilarity that is asked for is NaN or infinite.
    """
    values = rdm.condensed(dissimilarities)
    if len(values) != given.n * (given.n - 1) // 2:
        raise InputError(
            f"the dissimilarities are of {len(values)} pairs; {given.name!r} has {given.n} images, "
            f"{given.n * (given.n - 1) // 2} pairs."
        )
    chosen, other = (values[pair] for pair in _pairs(given))
    bad = ~(np.isfinite(chosen) & np.isfinite(other))
    if bad.any():
        raise InputError(
            f"{bad.sum():,} of {len(given):,} triplets ask for a dissimilarity that is NaN or infinite "
            f"(first: triplet {bad.argmax()}). An image whose features are all equal has none: leave it out."
        )
    return _compared(other - chosen, SAME * np.abs(values[np.isfinite(values)]).max())


@checked
def agreement(dissimilarities: ArrayLike, given: Triplets, *, by: By = "majorities") -> float:
    """How often dissimilarities choose as people do.

    Parameters
    ----------
    dissimilarities, given
        As for :func:`outcomes`. Ties in the dissimilarities count half; ``(outcomes(…) == 0.5).sum()`` says
        how many there are.
    by
        ``"majorities"``: the share of majorities that they agree with. Triplets on which people are tied
        (``(~given.decided).sum()``) have none and are left out. ``"votes"``: the share of single answers,
        of all triplets.

    Returns
    -------
    float
        In [0, 1]; 0.5 is chance.
    """
    _check_by(by)
    found = outcomes(dissimilarities, given)
    if by == "votes":
        own = found * given.votes[:, 0] + (1 - found) * given.votes[:, 1]
        return float(own.sum() / given.votes.sum())
    return float(found[_majorities(given)].mean())


class Ceiling(NamedTuple):
    """What a model can reach: `low`, as well as one more person does; `high`, as well as any can."""

    low: float
    high: float


@checked
def ceiling(given: Triplets, *, by: By = "majorities") -> Ceiling:
    """How well people predict people.

    Parameters
    ----------
    given
        What people answered; f people chose one, a ≤ f the other, m = f + a.
    by
        As for :func:`agreement`.

    Returns
    -------
    Ceiling
        `high`: the model that always chooses as most do. All majorities, so 1; of the votes
        Σ f / Σ m. `low`: one more person who answers like the others, each person in turn.

    Raises
    ------
    InputError
        Where no triplet was answered by two people or more; and for `low` of majorities, by enough
        for the others of one to have a majority.

    Notes
    -----
    Of the votes, one more person agrees with as many as two people agree with one another:
    low = Σ m·[f(f−1) + a(a−1)] / [m(m−1)] / Σ m, over triplets with m ≥ 2. With answers that are
    independent given the triplet, that is unbiased for p² + (1 − p)².

    Of the majorities, each person is compared with the majority of the others, and left out where those
    are tied, as :func:`agreement` does. One of the f agrees if f − 1 > a; is left out if f − 1 = a; one of
    the a (and, where f = a, of both) never agrees: low = Σ f·[f − 1 > a]/m / Σ (f·[f − 1 ≠ a] + a)/m, with
    every triplet of the same weight. The others are one fewer than those who made the majority that a
    model is compared with; so this is a little low.
    """
    _check_by(by)
    f, a = given.votes.astype(np.float64).T
    m = f + a
    several = m >= 2
    if not several.any():
        raise InputError(
            f"no triplet of {given.name!r} was answered by two people: nothing says how they agree."
        )
    if by == "votes":
        f, a, m = f[several], a[several], m[several]
        low = float(((f * (f - 1) + a * (a - 1)) / (m - 1)).sum() / m.sum())
        return Ceiling(low, float(given.votes[:, 0].sum() / given.votes.sum()))
    compared = ((f * (f - 1 != a) + a) / m).sum()
    return Ceiling(float((f * (f - 1 > a) / m).sum() / compared), 1.0)


# --- along a curve -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AgreementCurve:
    """Agreement of the first k features with majorities, and D, its change from that of all features.

    Attributes
    ----------
    k
        ``(n_steps,)``, numbers of features, rising.
    agreement
        ``(n_steps,)``, share of majorities that the first k features agree with, ties counting half.
    agreement_all
        ``(n_steps,)``, that of all features, over the triplets that are defined at k.
    n_images, n_triplets, ties
        ``(n_steps,)``: images and triplets with a majority that are defined at k (the first k features of
        their images vary), and how many of these triplets are ties in the first k features.
    without
        ``(n_images, n_steps)``, D without each image and all triplets that it is in; NaN where it is in none.
    jackknife, shared, single
        ``(n_steps,)``, the variance V_J of D of the delete-one-image jackknife, and the parts of it that
        pairs of images (P) and single triplets (B) add.
    covariance
        ``(n_steps, n_steps)``, of D at different k; empty for more than 512 of them.
    """

    k: NDArray[np.intp]
    agreement: NDArray[np.float64]
    agreement_all: NDArray[np.float64]
    n_images: NDArray[np.intp]
    n_triplets: NDArray[np.intp]
    ties: NDArray[np.intp]
    without: NDArray[np.float64]
    jackknife: NDArray[np.float64]
    shared: NDArray[np.float64]
    single: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def difference(self) -> NDArray[np.float64]:
        """``(n_steps,)``, D = agreement of the first k − that of all."""
        return self.agreement - self.agreement_all

    @property
    def variance(self) -> NDArray[np.float64]:
        """``(n_steps,)``, of D: max(V_J − 2P − 3B, 0) + P + B.

        In V_J, what is common to the triplets of two images leaves with each of them, and what is a single
        triplet's own with each of three.
        """
        images = np.maximum(self.jackknife - 2 * self.shared - 3 * self.single, 0)
        return images + self.shared + self.single

    @property
    def method(self) -> str:
        """What was done, in words."""
        return _METHOD

    def estimate(self, *, level: float = 0.95) -> inference.Estimate:
        """D along the curve with standard errors, intervals and tests against 0."""
        d, se, df = self.difference, np.sqrt(self.variance), np.maximum(self.n_images - 1.0, 0)
        low, high, p = inference.t_interval(d, se, df, level=level)
        return inference.Estimate(
            "agreement", self.k, d, se, low, high, p, df, level, self.n_images, "image", self.method
        )

    @property
    def skewness(self) -> NDArray[np.float64]:
        """``(n_steps,)``, as of :class:`rarefire.inference.Corrected`."""
        return influences.skewness(self.without)

    def maximum(self, *, rng: np.random.Generator, **options: Any) -> inference.Maximum:
        """Test D at all k at once.

        Parameters
        ----------
        rng, **options
            As for :func:`rarefire.inference.largest`.

        Raises
        ------
        InputError
            For a curve of more than 512 numbers of features, and as there.
        """
        if not self.covariance.size:
            raise InputError(
                f"a maximum over {len(self.k):,} numbers of features needs more covariances than are kept "
                f"(at most {_MOST} numbers). Pass fewer k: neighbours are nearly the same."
            )
        covariance = self.covariance.copy()
        np.fill_diagonal(covariance, np.fmax(covariance.diagonal(), self.variance))
        df = np.maximum(self.n_images - 1.0, 0)
        return inference.largest(
            self.k, self.difference, covariance, df, rng=rng, method=self.method, **options
        )


@checked
def agreement_curve(
    embedding: Any,
    given: Triplets,
    order: ArrayLike,
    *,
    k: Sequence[int] | None = None,
    metric: Metric = "correlation",
    silenced: bool = False,
) -> AgreementCurve:
    """How often the first k features choose as most people do, and all that testing the change takes.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``.
    given
        What people answered about these images.
    order
        ``(n_features,)``, taken as given: PoZ that orders the features should come from other images.
    k
        Numbers of features; by default every one from 1 to all.
    metric
        ``"correlation"`` or ``"cosine"``.
    silenced
        Set the features outside the first k to 0 instead of removing them: all stay in the centring
        (:func:`rarefire.curves.silenced_curve`). For the cosine the two are the same.

    Returns
    -------
    AgreementCurve

    Raises
    ------
    InputError
        For an embedding of other images, and an `order` or `k` that do not fit it.

    Notes
    -----
    D is a mean over T triplets of ψ_t, the outcome of the first k minus that of all. What of it belongs to
    images, whichever part they play, ψ_t ≈ μ + a_R + a_A + a_B, is fitted by least squares (rank p), with
    residuals e. Single triplets add B = Σe²/(T − p)/T to the variance of D. What triplets with two images in
    common share beyond that, such as the noise of one dissimilarity, adds P = Σ(Σe)²/T², the inner sum
    over the triplets of a pair of images, less what that is expected to be if all e were independent; at
    least 0. In the delete-one-image jackknife the one counts three times, the other twice, as by
    inclusion and exclusion. Time n²·F + T for each k.
    """
    source = blocks.check_source(embedding)
    n, n_features = source.shape
    if n != given.n:
        raise InputError(f"the embedding has {n} images, {given.name!r} {given.n}.")
    if metric not in ("correlation", "cosine"):
        raise InputError(f"metric is 'correlation' or 'cosine'; got {metric!r}.")
    indices, steps = check_order(order, n_features), check_steps(k, n_features)
    use = _majorities(given)
    chosen, other = (pair[use] for pair in _pairs(given))
    asked = np.unique(np.append(steps, n_features))
    silence = silenced and metric == "correlation"
    prepared = pairs.prefixes(source, indices, asked, metric=metric, silence=silence)
    images = given.triplets[use]
    found = np.empty((len(asked), len(use)), dtype=np.float32)  # 0, 0.5 and 1 are exact
    running, size = np.zeros(n * (n - 1) // 2), max(1, _NUMBERS // max(len(use), n * n))
    for start in range(0, len(asked), size):
        part = slice(start, min(start + size, len(asked)))
        values = pairs.similarities(prepared, part, running)
        found[part] = _compared(values[:, chosen] - values[:, other], SAME)
    inside = prepared.scale > 0  # (n_asked, n_images)
    rows = np.searchsorted(asked, steps)

    shape = len(steps)
    without = np.full((n, shape), np.nan)
    shares, shares_all, shared, single = np.full((4, shape), np.nan)
    counts = np.zeros((3, shape), dtype=np.intp)
    keeps = shape <= _MOST
    own, common = np.zeros((shape, len(use) * keeps)), np.zeros((shape, n * (n - 1) // 2 * keeps))
    expected = np.zeros(shape)
    sizes = inside[rows].sum(axis=1)
    for left in np.unique(sizes):  # images that are defined stay so: few different sets
        group = np.flatnonzero(sizes == left)
        known = inside[rows[group[0]]] & inside[-1]
        t = np.flatnonzero(known[images].all(axis=1))
        counts[1, group] = len(t)
        if not len(t):
            continue
        fit = _Additive(images[t], n)
        counts[0, group], expected[group] = fit.units.sum(), fit.expected
        every = found[-1, t].astype(np.float64)
        for some in np.array_split(group, -(-len(group) * len(t) // _NUMBERS)):
            kept = found[np.ix_(rows[some], t)].astype(np.float64)
            counts[2, some] = (kept == 0.5).sum(axis=1)
            shares[some], shares_all[some] = kept.mean(axis=1), every.mean()
            change = kept - every
            without[np.ix_(fit.units, some)] = fit.without(change)
            e, sums = fit.residuals(change)
            single[some] = (e**2).sum(axis=1)
            shared[some] = np.maximum((sums**2).sum(axis=1) - fit.expected * single[some], 0)
            if keeps:
                own[np.ix_(some, t)], common[some] = e, sums
    jackknife = jackknife_variance(without, n=counts[0])
    covariance = np.empty((0, 0))
    if keeps:
        b = own @ own.T
        p = common @ common.T - np.sqrt(np.outer(expected, expected)) * b
        covariance = _covariance(without, counts[0], p, b)
    images_left, triplets_left, ties = counts
    return AgreementCurve(
        *(steps, shares, shares_all, images_left, triplets_left, ties),
        *(without, jackknife, shared, single, covariance),
    )


@checked
def change_of_agreement(
    embedding: Any,
    given: Triplets,
    order: ArrayLike,
    *,
    k: int,
    metric: Metric = "correlation",
    silenced: bool = False,
    level: float = 0.95,
) -> inference.Test:
    """Did adding features change the agreement with people? D = agreement(first k) − agreement(all).

    Parameters
    ----------
    embedding, given, order, metric, silenced
        As for :func:`agreement_curve`.
    k
        How many features are kept; chosen beforehand or on other images. For several, the curve's
        :meth:`AgreementCurve.estimate`.
    level
        Of the interval.

    Returns
    -------
    Test
        A positive estimate: the features left out lower the agreement. `r_kept` and `r_all` hold the
        agreements.

    Raises
    ------
    InputError
        As for :func:`agreement_curve`, and where the variance of D is undefined.
    """
    if np.ndim(k) > 0:
        raise InputError(
            f"k is one number, chosen beforehand; for several there is agreement_curve. Got {k!r}."
        )
    curve = agreement_curve(embedding, given, order, k=[k], metric=metric, silenced=silenced)
    d, variance, n = float(curve.difference[0]), float(curve.variance[0]), int(curve.n_images[0])
    if not np.isfinite(variance):
        raise InputError(
            f"the change at k = {k} is undefined: {n} images in {curve.n_triplets[0]} triplets with a "
            "majority are too few to tell what varies with them."
        )
    return inference.Test(
        **inference.with_interval(d, float(np.sqrt(variance)), n - 1, level=level),
        k=int(curve.k[0]),
        r_kept=float(curve.agreement[0]),
        r_all=float(curve.agreement_all[0]),
        n=n,
        n_subjects=0,
        unit="image",
        method=curve.method,
    )


@checked
def compare(
    first: ArrayLike, second: ArrayLike, given: Triplets, *, level: float = 0.95
) -> inference.Comparison:
    """Does one model choose as people do more often than another? D, the difference of their agreements.

    Parameters
    ----------
    first, second
        Dissimilarities by two models, as for :func:`outcomes`.
    given
        What people answered.
    level
        Of the interval.

    Raises
    ------
    InputError
        As for :func:`outcomes`, and where the variance of D is undefined.

    Notes
    -----
    As for :func:`agreement_curve`.
    """
    use = _majorities(given)
    one, other = (outcomes(model, given)[use] for model in (first, second))
    fit = _Additive(given.triplets[use], given.n)
    change = (one - other)[None]
    without = fit.without(change)
    e, sums = fit.residuals(change)
    b, n = float((e**2).sum()), int(fit.units.sum())
    p = max(float((sums**2).sum()) - fit.expected * b, 0)
    v_j = float(jackknife_variance(without, n=n)[0])
    if not np.isfinite(v_j + b):
        raise InputError(f"the difference is undefined: {n} images in {len(use)} triplets are too few.")
    se = float(np.sqrt(max(v_j - 2 * p - 3 * b, 0) + p + b))
    return inference.Comparison(
        **inference.with_interval(float(change.mean()), se, n - 1, level=level),
        first=float(one.mean()),
        second=float(other.mean()),
        n=n,
        n_subjects=0,
        method=_METHOD,
    )


# --- helpers -------------------------------------------------------------------------------------


class _Additive:
    """Effects of n images on triplets of them, ``(n_triplets, 3)``."""

    def __init__(self, images: NDArray[np.intp], n: int) -> None:
        total = len(images)
        touches = _incidence(images, n)
        counts = np.bincount(images.ravel(), minlength=n)
        self.units = counts > 0
        self._touches, self._counts = touches[self.units], counts[self.units]
        values, vectors = linalg.eigh((self._touches @ self._touches.T).toarray())
        real = values > _FAINT * values.max()  # the mean is in them: each triplet has three images
        self._inverse = (vectors[:, real] / values[real]) @ vectors[:, real].T
        self._left = total - int(real.sum())
        low, high = np.sort(images, axis=1)[:, [0, 0, 1]], np.sort(images, axis=1)[:, [1, 2, 2]]
        self._pairs = _incidence(_place(low, high, n), n * (n - 1) // 2)
        shared = (self._touches @ self._pairs.T).toarray()
        #: Sum of squares of pairs' sums over that of residuals, where these are independent but for the fit.
        self.expected = max(3 - float(np.sum((self._inverse @ shared) * shared)) / total, 0.0)

    def without(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Means over triplets without each image, ``(n_units, n_steps)``; NaN where no triplet is left."""
        remain = (values.shape[1] - self._counts)[:, None]
        with np.errstate(invalid="ignore"):
            sums = values.sum(axis=1) - self._touches @ values.T
            return np.asarray(sums / np.where(remain > 0, remain, np.nan))

    def residuals(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What is not of images, and its sums over the triplets of each pair of images.

        Scaled: the squares of the first sum to B, those of the second to P + B · `expected`.
        """
        total = values.shape[1]
        effects = self._inverse @ (self._touches @ values.T)
        e = values - (self._touches.T @ effects).T
        e = np.where(np.abs(e) < TIE, 0, e) / (np.sqrt(self._left * total) if self._left > 0 else np.nan)
        return e, np.asarray((self._pairs @ e.T).T) * np.sqrt(max(self._left, 0) / total)


def _incidence(members: NDArray[np.intp], n: int) -> sparse.csr_array:
    """``(n, n_triplets)``, 1 where one of n is a member of a triplet, from ``(n_triplets, …)`` numbers."""
    columns = np.repeat(np.arange(len(members)), members.shape[1])
    return sparse.csr_array((np.ones(members.size), (members.ravel(), columns)), shape=(n, len(members)))


def _covariance(
    without: NDArray[np.float64], n: NDArray[np.intp], p: NDArray[np.float64], b: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of D between steps: V_J − 2P − 3B and P, made positive semi-definite, and B."""
    known = np.isfinite(without)
    count = np.maximum(known.sum(axis=0), 1)
    apart = np.where(known, without - np.where(known, without, 0).sum(axis=0) / count, 0)
    apart *= np.sqrt(np.maximum(n - 1, 0) / np.maximum(n, 1))
    p, b = influences.positive(np.nan_to_num(p)), np.nan_to_num(b)
    return np.asarray(influences.positive(apart.T @ apart - 2 * p - 3 * b) + p + b)


def _pairs(given: Triplets) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of each triplet the pairs of R with what was chosen and with the other: places in a condensed RDM."""
    r, a, b = given.triplets.T
    chosen, other = (_place(np.minimum(r, x), np.maximum(r, x), given.n) for x in (a, b))
    return chosen, other


def _place(low: NDArray[np.intp], high: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Of the pair low < high in a condensed RDM of n images."""
    return np.asarray(low * n - low * (low + 1) // 2 + high - low - 1)


def _compared(margins: NDArray[np.float64], same: float) -> NDArray[np.float64]:
    """1 where a margin is positive, 0 where it is negative, 0.5 where it is rounding."""
    return np.where(np.abs(margins) <= same, 0.5, margins > 0)


def _majorities(given: Triplets) -> NDArray[np.intp]:
    use = np.flatnonzero(given.decided)
    if not len(use):
        raise InputError(
            f"people are tied on all {len(given)} triplets of {given.name!r}: no majority to agree with."
        )
    return use


def _check_by(by: str) -> None:
    if by not in get_args(By):
        raise InputError(f"by is one of {', '.join(get_args(By))}; got {by!r}.")
