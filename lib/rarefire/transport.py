"""How far two layers' geometries are apart when nobody says which image is which: Gromov–Wasserstein.

A layer is the distances D between N images, and a coupling T says how much of an image of one layer goes to
each of the other (every image has weight 1/N): GW² = min over T of Σ (D_ik − D'_jl)² T_ij T_kl. RSA and CKA
keep every image where it is; the *identity plan* does so too, mean (D − D')², and what can be had by moving
images is the *alignment gap*.

* The minimum cannot be computed, but for a few images: every solver ends in a valley. So each value is a
  **bracket**: two lower bounds (Mémoli 2011), and the best that is found from several starts.
* **It vanishes with dimension alone**: distances between many-dimensional points are all near their mean, so
  that the identity plan of two unrelated Gaussians costs .36, .10, .034 and .010 for d = 3, 10, 30 and 100.
  ``relative`` divides by what the identity plan costs when one layer's images are shuffled.
* Two samples of the *same* layer differ too: see :func:`noise_floor`.

Optional (``pip install 'rarefire[gw]'``): the solver is POT's (Flamary et al. 2021).

References
----------
Mémoli, F. (2011). Gromov–Wasserstein distances and the metric approach to object matching. *Foundations of
Computational Mathematics*, 11, 417–487. Flamary, R., et al. (2021). POT: Python optimal transport. *JMLR*,
22(78), 1–8. Gao, T., et al. (2024), who find groups of layers by it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import threadpoolctl
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist
from tqdm import tqdm

from rarefire import embeddings, store
from rarefire._engine import blocks
from rarefire._engine.arguments import checked
from rarefire.errors import DataError, InputError
from rarefire.rdm import condensed, square
from rarefire.rounding import SAME, first_largest
from rarefire.similarity import Grams

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from rarefire.stimuli import Stimuli

__all__ = [
    "LEAST",
    "QUANTITIES",
    "Bracket",
    "bracket",
    "compare",
    "distances",
    "each_pair",
    "layer_distances",
    "layer_table",
    "noise_floor",
    "square_map",
]

#: Fewest images of a layer.
LEAST = 4

#: What a map of layers can be of: attributes of :class:`Bracket`.
QUANTITIES = ("distance", "upper", "lower", "slb", "identity", "relative", "gap")

_Floats = NDArray[np.float64]
_Quantity = Literal["distance", "upper", "lower", "slb", "identity", "relative", "gap"]
_STEP = 2**22  # features of all images at once
_LEFT = 1e-6  # of two squared norms: where less is left of a squared distance, it is computed by itself
_MOST = 2**30  # bytes of activations, of several layers, for which the network runs once
_QUESTION = "layers"
_NUMBERS = ("lower", "upper", "identity", "relative")


@dataclass(frozen=True, eq=False)
class Bracket:
    """Gromov–Wasserstein between two layers, from below and from above; all in units of GW².

    Attributes
    ----------
    slb
        Second lower bound: mean (sort D − sort D')² over all N² entries.
    lower
        Third lower bound, never below it: images are matched as if each knew only its own sorted distances.
    upper
        The best that was found; at most `identity`.
    identity
        Of the identity plan: mean (D − D')², every image stays itself.
    chance
        Of the identity plan after one layer's images are shuffled: its mean over all N! orders, exactly.
    start
        From which of `starts` the best was found; the first, where several are.
    starts
        Start -> where the solver ended: ``"identity"``, ``"lower bound"`` (the matching of `lower`),
        ``"product"`` (everyone to everyone), ``"random 1"``, …
    coupling
        ``(N, N)``, what goes from each image of the first layer to each of the second; rows and columns sum
        to 1/N.
    """

    slb: float
    lower: float
    upper: float
    identity: float
    chance: float
    start: str
    starts: Mapping[str, float]
    coupling: _Floats

    @property
    def distance(self) -> float:
        """½·GW, from `upper`: the Gromov–Wasserstein distance."""
        return float(np.sqrt(self.upper)) / 2

    @property
    def relative(self) -> float:
        """`upper` / `chance`: 0 for the same geometry, near 1 where moving images does not help either.

        NaN where all distances of both layers are equal, in size too.
        """
        return self.upper / self.chance if self.chance > 0 else float("nan")

    @property
    def gap(self) -> float:
        """Alignment gap, `identity` − `upper`: what RSA and CKA see, and Gromov–Wasserstein does not."""
        return self.identity - self.upper

    @property
    def partner(self) -> NDArray[np.intp]:
        """``(N,)``, to which image of the second layer most of each image of the first goes."""
        return np.asarray(self.coupling.argmax(axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """To be kept: its numbers by name, where the solver ended in the order of starts, and `partner`."""
        numbers = {name: getattr(self, name) for name in ("slb", "lower", "upper", "identity", "chance")}
        kept = {name: np.asarray(value) for name, value in numbers.items()}
        kept |= {
            "starts": np.array([*self.starts.values()]),
            "start": np.asarray([*self.starts].index(self.start)),
        }
        return kept | {"partner": self.partner.astype(np.int32)}


@checked
def distances(features: ArrayLike) -> _Floats:
    """Euclidean distances of a layer's images, divided by their mean.

    Parameters
    ----------
    features
        ``(n_images, n_features)`` or ``(n_images, channels, height, width)``, every position a feature; at
        least four images.

    Returns
    -------
    ndarray
        ``(n_images, n_images)``, symmetric, 0 on the diagonal; 1 on average beside it.

    Raises
    ------
    InputError
        For another shape, fewer than four images, NaN or infinite features, and for a layer in which all
        images are equal.
    """
    given = np.asarray(features)
    if given.ndim not in (2, 4) or len(given) < LEAST or not given.size:
        raise InputError(
            f"a layer is (n_images, n_features) or (n_images, channels, height, width), of at least {LEAST} "
            f"images; got {given.shape}."
        )
    rows = given.reshape(len(given), -1)
    rows = rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(f"{np.count_nonzero(~finite)} of {len(rows)} images have NaN or infinite features.")
    largest, width = float(np.abs(rows).max()), rows.shape[1]
    found = np.sqrt(_squares(rows, largest))
    # What a network computes for the same image twice differs by the rounding of its own precision.
    rounding = max(SAME, 16 * float(np.finfo(rows.dtype).eps))
    if found.max() <= rounding * np.sqrt(width):
        raise InputError(
            f"all {len(rows)} images are equal in this layer: no distances to compare. Leave it out."
        )
    return square(found / found.mean())


@checked
def bracket(first: ArrayLike, second: ArrayLike, *, rng: np.random.Generator, n_random: int = 10) -> Bracket:
    """Gromov–Wasserstein between two sets of distances, in whatever unit they are.

    Parameters
    ----------
    first, second
        ``(n, n)``, symmetric, ≥ 0, with 0 on the diagonal; of as many points.
    rng, n_random
        So many random orders to start from, beside the three starts that need no chance. Of 20 layers of
        GoogLeNet they win in 58 of 190 pairs, by up to 7 %; of a trained LeNet never. Without them it takes a
        quarter of the time.

    Returns
    -------
    Bracket
        Exactly the same when `first` and `second` change places, but for the coupling, which is transposed.

    Raises
    ------
    InputError
        For matrices that are none of distances or that differ in size.
    DataError
        If POT is not installed.
    """
    a, b = (_checked(matrix, which) for matrix, which in ((first, "first"), (second, "second")))
    if len(a) != len(b):
        raise InputError(f"both need the same number of points; got {len(a)} and {len(b)}.")
    if n_random < 0:
        raise InputError(f"n_random is a number of starts, at least 0; got {n_random}.")
    # Where the solver ends depends on who is first: always the same, whatever the order of arguments.
    # Big-endian bytes of numbers that are not negative sort as the numbers do.
    if a.astype(">f8").tobytes() > b.astype(">f8").tobytes():
        turned = _bracket(b, a, rng, n_random)
        return replace(turned, coupling=turned.coupling.T)
    return _bracket(a, b, rng, n_random)


@checked
def compare(first: ArrayLike, second: ArrayLike, *, rng: np.random.Generator, n_random: int = 10) -> Bracket:
    """Gromov–Wasserstein between two layers.

    Parameters
    ----------
    first, second
        As for :func:`distances`, of as many images; their widths may differ. Which image is which does not
        count, but for `identity` and `gap`, for which both have them in the same order.
    rng, n_random
        As for :func:`bracket`.

    Raises
    ------
    InputError
        As for :func:`distances`, and for different numbers of images.
    DataError
        If POT is not installed.
    """
    return bracket(distances(first), distances(second), rng=rng, n_random=n_random)


@checked
def noise_floor(
    features: ArrayLike,
    *,
    rng: np.random.Generator,
    size: int | None = None,
    n_splits: int = 1,
    n_random: int = 10,
) -> list[Bracket]:
    """Between two samples of images of the same layer that have none in common: what is no difference.

    It is what sampling adds where layers saw *different* images, and how far from 0 the solver ends when
    there is nothing to start from. Layers that saw the same images can differ by far less, and truly.

    Parameters
    ----------
    features
        As for :func:`distances`, at least eight images.
    rng
        Draws the samples, and random starts.
    size
        Images of a sample, by default half of them. The floor falls with it: compare layers on as many.
    n_splits
        So many pairs of samples.
    n_random
        As for :func:`bracket`.

    Returns
    -------
    list of Bracket
        One for each pair. `identity` is of pairing images by chance.

    Raises
    ------
    InputError
        As for :func:`distances`; for fewer than eight images, samples below four or that are not disjoint,
        and for fewer than one split.
    DataError
        If POT is not installed.
    """
    every = distances(features)
    size = len(every) // 2 if size is None else size
    if not LEAST <= size <= len(every) // 2:
        raise InputError(
            f"two disjoint samples of at least {LEAST} images: size lies between {LEAST} and half of the "
            f"{len(every)} images; got {size}."
        )
    if n_splits < 1:
        raise InputError(f"n_splits is at least 1; got {n_splits}.")
    found = []
    for _ in range(n_splits):
        samples = rng.permutation(len(every))[: 2 * size].reshape(2, size)
        a, b = (_normalised(every[np.ix_(sample, sample)]) for sample in samples)
        found.append(bracket(a, b, rng=rng, n_random=n_random))
    return found


@checked
def layer_distances(
    network: nn.Module,
    images: NDArray[np.floating] | Stimuli,
    *,
    layers: Sequence[str],
    spatial: embeddings.Spatial = "flatten",
    batch_size: int = 64,
) -> dict[str, _Floats]:
    """:func:`distances` of several layers of a network.

    Parameters
    ----------
    network, images, layers, spatial, batch_size
        As for :func:`rarefire.embeddings.each`.

    Returns
    -------
    dict
        Layer -> ``(n_images, n_images)``, in the order of `layers`.

    Raises
    ------
    UnknownNameError
        If a layer does not exist.
    InputError
        As for :func:`distances`; the message names the layer.
    """
    found = {}
    options: dict[str, Any] = {"layers": layers, "spatial": spatial, "batch_size": batch_size}
    for layer, features in embeddings.each(network, images, **options):
        found[layer] = _of_layer(layer, features)
    return found


@checked
def each_pair(
    spaces: Mapping[str, ArrayLike],
    *,
    seed: int = 0,
    n_random: int = 10,
    pairs: Sequence[tuple[str, str]] | None = None,
    jobs: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[tuple[str, str], Bracket]]:
    """Every pair of layers, in processes of one thread each, as soon as it is there.

    Parameters
    ----------
    spaces
        Layer -> its distances, as of :func:`layer_distances`; of the same images.
    seed, n_random
        Random starts of every pair: a pair has the same whichever others are asked for.
    pairs
        Which ones; by default each with each later one. To go on after an interruption, those that lack.
    jobs
        Processes; by default one for each processor core. With 1, everything happens in this one.
    progress
        Show a progress bar.

    Yields
    ------
    pair, bracket
        In any order.

    Raises
    ------
    InputError
        As for :func:`bracket`, for fewer than two layers, and for a pair of which a layer is missing.
    DataError
        If POT is not installed.
    """
    checked = {layer: _checked(space, layer) for layer, space in spaces.items()}
    sizes = {layer: len(space) for layer, space in checked.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"all layers need the same images; got {sizes}.")
    if len(checked) < 2:
        raise InputError(f"a map needs at least two layers; got {len(checked)}.")
    wanted = _pairs([*checked]) if pairs is None else [*pairs]
    missing = {layer for pair in wanted for layer in pair} - set(checked)
    if missing:
        raise InputError(f"pairs name layers without distances: {', '.join(sorted(missing))}.")
    _pot()
    return _each(checked, wanted, seed, n_random, jobs, progress)


@checked
def layer_table(
    network: nn.Module,
    images: NDArray[np.floating] | Stimuli,
    *,
    layers: Sequence[str],
    spatial: embeddings.Spatial = "flatten",
    batch_size: int = 64,
    seed: int = 0,
    n_random: int = 10,
    jobs: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """How far apart every two layers of a network are: Gromov–Wasserstein, CKA and RSA.

    Of a layer no more stays in memory than images by images. Each pair's bracket goes into the user's cache
    as soon as it is there: what was interrupted goes on where it was when it is called again.

    Parameters
    ----------
    network, images, layers, spatial, batch_size
        As for :func:`rarefire.embeddings.each`; at least four images and two layers, each named once.
    seed, n_random, jobs, progress
        As for :func:`each_pair`.

    Returns
    -------
    DataFrame
        A row for each pair of layers, in the order of the condensed map. ``first, second``: their names;
        ``lower, upper, identity, relative``: of :class:`Bracket`, the first three in units of GW²; ``cka``,
        debiased, and ``rsa``, R² of the RDMs by correlation: of :func:`rarefire.similarity.compare`, NaN
        where they are undefined. Its ``attrs`` say what it took: ``layers`` and ``pairs``, in seconds, and
        ``known``, how many pairs were in the cache.

    Raises
    ------
    UnknownNameError
        If a layer does not exist.
    InputError
        For fewer images or layers, a layer without distances (see :func:`distances`; the message names it),
        and one whose first axis is not the images.
    DataError
        If POT is not installed.
    """
    import pandas as pd  # slow to import

    names, start = [*layers], time.perf_counter()
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"at least two layers are compared, each named once; got {', '.join(names)!r}.")
    if len(images) < LEAST:
        raise InputError(f"layers are compared on at least {LEAST} images; got {len(images)}.")
    version = _pot().__version__  # before the network is run
    options: dict[str, Any] = {"layers": names, "spatial": spatial, "batch_size": batch_size}
    spaces, grams = dict[str, _Floats](), dict[str, Grams]()
    each = embeddings.each(network, images, **options, most=_MOST)
    for layer, values in tqdm(each, total=len(names), desc="layers", disable=not progress):
        rows = values.reshape(len(values), -1)
        spaces[layer], grams[layer] = _of_layer(layer, rows), Grams(rows)
    seen = time.perf_counter()

    # By the distances, not by what they were computed from: a network's code has no digest.
    digests, pairs = {layer: store.array_digest(space) for layer, space in spaces.items()}, _pairs(names)
    facts: dict[str, Any] = {"seed": seed, "n_random": n_random, "pot": version, "version": 1}
    own = {pair: {**facts, "spaces": sorted(digests[layer] for layer in pair)} for pair in pairs}
    asked = {pair: store.recall(_QUESTION, own[pair], use_shipped=False) for pair in pairs}
    found = {pair: answer for pair, answer in asked.items() if answer is not None}
    known, missing = len(found), [pair for pair in pairs if pair not in found]
    if missing:
        search: dict[str, Any] = {"seed": seed, "n_random": n_random, "jobs": jobs, "progress": progress}
        for pair, one in each_pair(spaces, pairs=missing, **search):
            numbers = {name: np.asarray(getattr(one, name)) for name in _NUMBERS}
            found[pair] = store.keep(_QUESTION, own[pair], numbers)
    lines = []
    for first, second in pairs:
        bounds = (float(found[first, second].arrays[name]) for name in _NUMBERS)
        alike = grams[first].compare(grams[second], measures=["cka", "pearson"])
        lines.append([first, second, *bounds, alike["cka"], alike["pearson"]])
    table = pd.DataFrame(lines, columns=["first", "second", *_NUMBERS, "cka", "rsa"])
    table.attrs = {"layers": seen - start, "pairs": time.perf_counter() - seen, "known": known}
    return table


@checked
def square_map(
    found: Mapping[tuple[str, str], Bracket],
    layers: Sequence[str],
    *,
    quantity: _Quantity = "distance",
) -> _Floats:
    """One quantity of every pair of layers as a map.

    Parameters
    ----------
    found
        What :func:`each_pair` gave.
    layers
        Names, in order.
    quantity
        One of :data:`QUANTITIES`.

    Returns
    -------
    ndarray
        ``(n_layers, n_layers)``, symmetric, 0 on the diagonal.

    Raises
    ------
    InputError
        For another quantity, and for pairs that are missing.
    """
    if quantity not in QUANTITIES:
        raise InputError(f"quantity is one of {', '.join(QUANTITIES)}; got {quantity!r}.")
    known = {frozenset(pair): getattr(one, quantity) for pair, one in found.items()}
    wanted = _pairs(layers)
    missing = [pair for pair in wanted if frozenset(pair) not in known]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(wanted)} pairs are missing, such as {' and '.join(missing[0])}."
        )
    return square([known[frozenset(pair)] for pair in wanted])


# --- helpers -------------------------------------------------------------------------------------


def _of_layer(layer: str, features: NDArray[np.floating]) -> _Floats:
    try:
        return distances(features)
    except InputError as error:
        raise InputError(f"{layer}: {error}") from error


def _squares(rows: NDArray[np.floating], unit: float) -> _Floats:
    """Squared distances of all rows, condensed, in units of `unit`²; 0 where that is 0."""
    n, step = len(rows), max(1, _STEP // len(rows))
    parts = [slice(start, start + step) for start in range(0, rows.shape[1], step)] if unit else []
    products = np.zeros((n, n))
    for part in parts:
        centred = rows[:, part] / np.float64(unit)
        centred -= centred.mean(axis=0)
        products += centred @ centred.T
    norms = np.diag(products)
    squares = norms[:, None] + norms - 2 * products
    # Of images that are all but equal, the difference of products is rounding.
    near = squares < _LEFT * (norms[:, None] + norms)
    np.fill_diagonal(near, False)
    own = np.flatnonzero(near.any(axis=1))
    if len(own):
        apart = sum(pdist(rows[own, part] / np.float64(unit), "sqeuclidean") for part in parts)
        squares[near] = square(apart)[near[np.ix_(own, own)]]
    return condensed(np.maximum(squares + squares.T, 0) / 2)


def _bracket(a: _Floats, b: _Floats, rng: np.random.Generator, n_random: int) -> Bracket:
    solver, n = _pot(), len(a)
    slb, (lower, matched) = _second_bound(a, b), _third_bound(a, b)
    identity = _of_order(a, b, np.arange(n))
    # Of pairs of different images, each is as likely to meet each.
    chance = (a**2).mean() + (b**2).mean() - 2 * a.sum() * b.sum() / (n**3 * (n - 1))
    first: dict[str, _Floats | None] = {"identity": _plan(np.arange(n)), "lower bound": _plan(matched)}
    first["product"] = None
    first |= {f"random {i + 1}": _plan(rng.permutation(n)) for i in range(n_random)}
    plans = {
        name: solver.gromov.gromov_wasserstein(a, b, symmetric=True, G0=start)
        for name, start in first.items()
    }
    ends = {name: _of_plan(a, b, plan) for name, plan in plans.items()}
    best = [*ends][first_largest([-end for end in ends.values()])]
    upper = min(ends[best], identity)
    lower = min(max(lower, slb), upper)  # at the ends they differ by rounding alone
    return Bracket(min(slb, lower), lower, upper, identity, max(chance, 0.0), best, ends, plans[best])


def _second_bound(a: _Floats, b: _Floats) -> float:
    return float(((np.sort(a, axis=None) - np.sort(b, axis=None)) ** 2).mean())


def _third_bound(a: _Floats, b: _Floats) -> tuple[float, NDArray[np.intp]]:
    """The bound, and whom it matches with each point."""
    x, y = np.sort(a, axis=1), np.sort(b, axis=1)
    costs = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    _, matched = linear_sum_assignment(costs)  # points weigh the same: the best coupling is a permutation
    return float(((x - y[matched]) ** 2).mean()), matched


def _of_order(a: _Floats, b: _Floats, order: NDArray[np.intp]) -> float:
    return float(((a - b[np.ix_(order, order)]) ** 2).mean())


def _of_plan(a: _Floats, b: _Floats, plan: _Floats) -> float:
    """What a coupling costs: exactly, where it is a permutation; else up to rounding of the sums."""
    order = plan.argmax(axis=1)
    if (np.take_along_axis(plan, order[:, None], axis=1) * len(plan) > 1 - SAME).all():
        return _of_order(a, b, order)
    return max(float((a**2).mean() + (b**2).mean() - 2 * np.vdot(a @ plan @ b, plan)), 0.0)


def _plan(order: NDArray[np.intp]) -> _Floats:
    return np.asarray(np.eye(len(order))[order] / len(order))


def _pot() -> Any:
    try:
        with warnings.catch_warnings():  # of POT's sources, where they are compiled first
            for category in (SyntaxWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            import ot  # slow to import
    except ImportError as error:
        raise DataError("Gromov–Wasserstein distances need POT: pip install 'rarefire[gw]'.") from error
    return ot


def _pairs(layers: Sequence[str]) -> list[tuple[str, str]]:
    return [(one, other) for i, one in enumerate(layers) for other in layers[i + 1 :]]


def _each(
    spaces: Mapping[str, _Floats],
    pairs: Sequence[tuple[str, str]],
    seed: int,
    n_random: int,
    jobs: int | None,
    progress: bool,
) -> Iterator[tuple[tuple[str, str], Bracket]]:
    import joblib

    tasks = (joblib.delayed(_task)(pair, *(spaces[name] for name in pair), seed, n_random) for pair in pairs)
    with blocks.processes(max(1, min(jobs or blocks.cores(), len(pairs)))):
        done = joblib.Parallel(return_as="generator_unordered", batch_size=1)(tasks)
        yield from tqdm(done, total=len(pairs), desc="pairs of layers", disable=not progress)


def _task(
    pair: tuple[str, str], first: _Floats, second: _Floats, seed: int, n_random: int
) -> tuple[tuple[str, str], Bracket]:
    with threadpoolctl.threadpool_limits(1, user_api="blas"):  # also where it is this process that works
        return pair, bracket(first, second, rng=np.random.default_rng(seed), n_random=n_random)


def _normalised(matrix: _Floats) -> _Floats:
    n = len(matrix)
    mean = matrix.sum() / (n * (n - 1))
    if not mean:
        raise InputError(f"all {n} images of a sample are equal: there are no distances to compare.")
    return np.asarray(matrix / mean)


def _checked(matrix: ArrayLike, which: str) -> _Floats:
    given = np.asarray(matrix, dtype=np.float64)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or len(given) < 2:
        raise InputError(f"{which}: distances are a square matrix of at least two points; got {given.shape}.")
    if not np.isfinite(given).all():
        raise InputError(f"{which}: {np.count_nonzero(~np.isfinite(given))} distances are NaN or infinite.")
    upper = condensed(given)  # checks that it is symmetric
    if (given < 0).any() or np.diag(given).any():
        raise InputError(f"{which}: distances are at least 0, and 0 on the diagonal.")
    return square(upper)
