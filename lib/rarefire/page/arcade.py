"""The false-positive arcade: simulated studies, one after the other, and two tests that judge them.

A study is some images, the features that a network makes of them, and one number from people for each pair.
The world is that of :func:`rarefire.simulations.world` (eight groups of eight features, later groups fire
more rarely; what people share is a weighted sum of the groups' geometries). Without an effect the weights
are such that the first k features predict people exactly as well as all, for every k that is looked at: over
all images that there could be, D = r(first k, people) − r(all, people) = 0. With an effect, the rarest group
fires for causes that people do not see, and so strongly that r is higher by the effect without that group.

The naive test looks at the whole curve, takes the k at which it is highest, and does a paired t test over
folds of the same images there (:func:`rarefire.naive.paired_t_over_folds`). The valid one is J− over images,
at a k that was decided before (:func:`rarefire.inference.change_of_prediction`).

The page draws the same studies without a kernel (``js/arcade_study.js``): random numbers come from the
Mersenne Twister, whose stream is short enough to be written down twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rarefire import curves, inference, naive, rdm, simulations
from rarefire._engine.arguments import checked
from rarefire.errors import InputError
from rarefire.page import frame, palette, plots
from rarefire.page.widgets import PageWidget, fixed, script
from rarefire.rdm import pair_similarities, unit_vectors
from rarefire.rounding import first_largest

__all__ = ["EFFECTS", "IMAGES", "KEPT", "MOST", "Arcade", "Played", "Setting", "draw", "play", "played", "rates"]

_P = NDArray[np.float64]

#: By how much r(people) is higher without the rarest group of features; 0 is the null.
EFFECTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
#: Fewest and most images of a study.
IMAGES = (24, 60)
#: Features that the valid test keeps, of 64: all but the rarest group. Decided before any study was drawn.
KEPT = 56
#: Studies that a page draws of one setting.
MOST = 5000

_FOLDS, _SPLITS, _NOISE = (2, 8), (1, 16), (0.25, 3.0)
_LEVEL = 0.05
_SHOWN = 100  # places of each board
_TESTS = {"naive": "Naive test", "valid": "Valid test"}


@dataclass(frozen=True)
class Setting:
    """What the sliders set.

    Attributes
    ----------
    images
        Of each study, within :data:`IMAGES`.
    noise
        Standard deviation of one rating's noise, where that of what people share is 1; .25 to 3.
    folds, splits
        Parts into which the naive test cuts the images, 2 to 8, and how often it does so anew, 1 to 16.
    effect
        One of :data:`EFFECTS`.
    """

    images: int = 40
    noise: float = 1.0
    folds: int = 5
    splits: int = 8
    effect: float = 0.0

    def __post_init__(self) -> None:
        limits = {"images": IMAGES, "noise": _NOISE, "folds": _FOLDS, "splits": _SPLITS}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            whole = name == "noise" or isinstance(value, int | np.integer)
            if not whole or not low <= value <= high:
                kind = "a number" if name == "noise" else "a whole number"
                raise InputError(f"{name} is {kind} from {low:g} to {high:g}; got {value!r}.")
        _step(self.effect)


@dataclass(frozen=True, eq=False)
class Played:
    """What both tests say of one study.

    Attributes
    ----------
    ks, r
        ``(8,)``: numbers of features, and r of the first k with people.
    best
        The k below all at which r is highest.
    naive_d, naive_p
        Mean of D over the folds at `best`, and p of the paired t test.
    valid_d, valid_p
        D at :data:`KEPT`, and p of J−.
    """

    ks: tuple[int, ...]
    r: _P
    best: int
    naive_d: float
    naive_p: float
    valid_d: float
    valid_p: float


def _step(effect: float) -> int:
    """Which of :data:`EFFECTS`."""
    near = np.flatnonzero(np.isclose(EFFECTS, effect))
    if not len(near):
        allowed = ", ".join(f"{e:g}" for e in EFFECTS)
        raise InputError(f"effect is one of {allowed}; got {effect!r}.")
    return int(near[0])


# --- the world ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _World:
    """What :meth:`rarefire.simulations.World.groups` says; numbers of features; strengths of decoys."""

    mixing: _P
    thresholds: _P
    weights: _P
    ks: tuple[int, ...]
    gains: tuple[float, ...]  # for EFFECTS above 0

    def group(self, g: int, causes: _P) -> _P:
        """Features ``(n, n_features)`` of a group, of ``(n, n_causes)``."""
        return np.maximum(causes @ self.mixing[g] - self.thresholds[g], 0)


@lru_cache(maxsize=1)
def _world() -> _World:
    made = simulations.world()
    return _World(*made.groups(), made.ks, tuple(made.decoys(EFFECTS[1:]).tolist()))


class _Draws(np.random.Generator):
    """Random numbers that a page can draw too: all of them from uniform ones."""

    def __init__(self, key: Sequence[int]) -> None:
        source = np.random.MT19937()
        source.state = np.random.RandomState(key).get_state(legacy=False)
        super().__init__(source)

    def normals(self, *shape: int) -> _P:
        """Standard normal numbers, two of two (Box & Muller 1958)."""
        count = int(np.prod(shape))
        first, second = self.random(((count + 1) // 2, 2)).T
        radius, angle = np.sqrt(-2 * np.log1p(-first)), 2 * np.pi * second
        both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return np.asarray(both.ravel()[:count].reshape(shape))

    def permutation(self, x: Any, axis: int = 0) -> NDArray[Any]:
        """Of the numbers below `x`."""
        return np.argsort(self.random(x), kind="stable")


@checked
def draw(setting: Setting, *, seed: int, index: int) -> tuple[_P, _P, np.random.Generator]:
    """One study; it depends on the setting, the seed and its index alone.

    Parameters
    ----------
    setting
        What kind of study.
    seed, index
        Whole numbers from 0 to 2³² − 1.

    Returns
    -------
    embedding, human
        ``(images, 64)``, post-ReLU, in insertion order; ``(n(n-1)/2,)``, people's dissimilarities.
    rng
        Of the partitions of the images.
    """
    for name, value in {"seed": seed, "index": index}.items():
        if not 0 <= value < 2**32:
            raise InputError(f"{name} is a whole number from 0 to 2³² − 1; got {value}.")
    world, rng, n = _world(), _Draws([seed, index]), setting.images
    groups, causes, _ = world.mixing.shape
    seen, others = rng.normals(groups, n, causes), rng.normals(n, causes)
    features = [world.group(g, seen[g]) for g in range(groups)]
    shared = world.weights @ [1 - pair_similarities(own) for own in features]
    human = shared + setting.noise * rng.normals(n * (n - 1) // 2)
    step = _step(setting.effect)
    if step:
        features[-1] = world.gains[step - 1] * world.group(-1, others)
    return np.concatenate(features, axis=1), human, rng


@checked
def play(embedding: ArrayLike, human: ArrayLike, setting: Setting, *, rng: np.random.Generator) -> Played:
    """Both tests of one study.

    Parameters
    ----------
    embedding, human, rng
        From :func:`draw`.
    setting
        Of the naive test, folds and splits.
    """
    ks, order = _world().ks, np.arange(np.shape(embedding)[1])
    r = curves.rdm_curve(embedding, human, order, k=ks).r
    best = ks[first_largest(r[:-1])]
    cut = {"k": best, "seeds": setting.splits, "folds": setting.folds}
    d = naive.differences_over_folds(embedding, human, order, rng=rng, **cut)
    valid = inference.change_of_prediction(embedding, human, order, k=KEPT, method="jackknife")
    p = float(stats.ttest_1samp(d, 0).pvalue)  # as naive.paired_t_over_folds
    return Played(ks, r, best, float(d.mean()), p, valid.estimate, valid.p)


@lru_cache(maxsize=8192)
def played(setting: Setting, seed: int, index: int) -> Played:
    """What both tests say of the study with this index."""
    embedding, human, rng = draw(setting, seed=seed, index=index)
    return play(embedding, human, setting, rng=rng)


def rates(setting: Setting, *, n: int, seed: int = 0) -> pd.DataFrame:
    """How often each test finds something, in the first `n` studies.

    Parameters
    ----------
    setting
        What kind of study.
    n
        Studies, from 1 to :data:`MOST`.
    seed
        Of the studies.

    Returns
    -------
    DataFrame
        A row for each test, ``naive`` and ``valid``: ``test, studies, found, rate, low, high``; the last two
        are Wilson's (1927) 95 % interval.
    """
    if not 1 <= n <= MOST:
        raise InputError(f"n is a number of studies from 1 to {MOST:,}; got {n}.")
    every = [played(setting, seed, index) for index in range(n)]
    return pd.DataFrame(
        [
            {"test": test, "studies": n, **_tally(sum(getattr(one, f"{test}_p") < _LEVEL for one in every), n)}
            for test in _TESTS
        ]
    )


def _tally(found: int, n: int) -> dict[str, float]:
    bounds = stats.binomtest(found, n).proportion_ci(method="wilson")
    return {"found": found, "rate": found / n, "low": bounds.low, "high": bounds.high}
