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

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from rarefire import curves, inference, naive, simulations
from rarefire._engine.arguments import checked
from rarefire.errors import InputError
from rarefire.page import frame, palette, plots
from rarefire.page.widgets import PageWidget, fixed, script
from rarefire.rdm import pair_similarities
from rarefire.rounding import first_largest

__all__ = [
    "EFFECTS",
    "IMAGES",
    "KEPT",
    "MOST",
    "Arcade",
    "Played",
    "Setting",
    "draw",
    "played",
    "rates",
    "share",
    "truth",
]

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
    """What :meth:`rarefire.simulations.World.groups` says; numbers of features; decoys."""

    mixing: _P
    thresholds: _P
    weights: _P
    ks: tuple[int, ...]
    gains: tuple[float, ...]  # for EFFECTS above 0
    signal: float  # r of the first k with what people share

    def group(self, g: int, causes: _P) -> _P:
        """Features ``(n, n_features)`` of a group, of ``(n, n_causes)``."""
        return np.asarray(np.maximum(causes @ self.mixing[g] - self.thresholds[g], 0))


@lru_cache(maxsize=1)
def _world() -> _World:
    made = simulations.world()
    signal = float(made.r[0] * np.sqrt(1 + made.noise**2))
    return _World(*made.groups(), made.ks, tuple(made.decoys(EFFECTS[1:]).tolist()), signal)


class _Draws(np.random.Generator):
    """Random numbers that a page can draw too: all of them from uniform ones."""

    def __init__(self, state: Any) -> None:
        source = np.random.MT19937()
        source.state = state
        super().__init__(source)

    def normals(self, *shape: int) -> _P:
        """Standard normal numbers, two of two (Box & Muller 1958)."""
        count = int(np.prod(shape))
        first, second = self.random(((count + 1) // 2, 2)).T
        radius, angle = np.sqrt(-2 * np.log1p(-first)), 2 * np.pi * second
        both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return np.asarray(both.ravel()[:count].reshape(shape))

    def permutation(self, x: Any, axis: int = 0) -> NDArray[Any]:  # noqa: ARG002
        """Of the numbers below `x`."""
        return np.argsort(self.random(x), kind="stable")


def _seeded(*key: int) -> Any:
    """The Mersenne Twister's state after a list of numbers, by the rule that its authors gave."""
    return np.random.RandomState(key).get_state(legacy=False)


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
    world, rng, n = _world(), _Draws(_seeded(seed, index)), setting.images
    groups, causes, _ = world.mixing.shape
    seen, others = rng.normals(groups, n, causes), rng.normals(n, causes)
    features = [world.group(g, seen[g]) for g in range(groups)]
    shared = world.weights @ [1 - pair_similarities(own) for own in features]
    human = shared + setting.noise * rng.normals(n * (n - 1) // 2)
    step = _step(setting.effect)
    if step:
        features[-1] = world.gains[step - 1] * world.group(-1, others)
    return np.concatenate(features, axis=1), human, rng


@lru_cache(maxsize=8192)
def played(setting: Setting, seed: int, index: int) -> Played:
    """What both tests say of one study.

    Parameters
    ----------
    setting, seed, index
        As for :func:`draw`.
    """
    alike = replace(setting, folds=Setting.folds, splits=Setting.splits)
    embedding, human, state, r, valid = _of_curve(alike, seed, index)
    rng = _Draws(state)
    ks, order = _world().ks, np.arange(embedding.shape[1])
    best = ks[first_largest(r[:-1])]
    cut = {"k": best, "seeds": setting.splits, "folds": setting.folds}
    d = naive.differences_over_folds(embedding, human, order, rng=rng, **cut)
    p = float(stats.ttest_1samp(d, 0).pvalue)  # as naive.paired_t_over_folds
    return Played(ks, r, best, float(d.mean()), p, valid.estimate, valid.p)


@lru_cache(maxsize=1024)
def _of_curve(setting: Setting, seed: int, index: int) -> tuple[_P, _P, Any, _P, inference.Test]:
    """What does not depend on folds: the study, r of the first k features, and the valid test."""
    embedding, human, rng = draw(setting, seed=seed, index=index)
    state = rng.bit_generator.state
    order = np.arange(embedding.shape[1])
    r = curves.rdm_curve(embedding, human, order, k=_world().ks).r
    valid = inference.change_of_prediction(embedding, human, order, k=KEPT, method="jackknife")
    return embedding, human, state, r, valid


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
            {
                "test": test,
                "studies": n,
                **_tally(sum(getattr(one, f"{test}_p") < _LEVEL for one in every), n),
            }
            for test in _TESTS
        ]
    )


@checked
def truth(setting: Setting) -> _P:
    """``(8,)``: r of the first k features with people over all images that there could be.

    Parameters
    ----------
    setting
        What kind of study; of it, noise and effect.
    """
    world = _world()
    r = np.full(len(world.ks), world.signal / np.sqrt(1 + setting.noise**2))
    r[-1] /= 1 + setting.effect
    return r


@checked
def share(found: int, n: int) -> tuple[float, float, float]:
    """A share, and Wilson's (1927) 95 % interval of it.

    Parameters
    ----------
    found, n
        How many, of how many.

    Returns
    -------
    share, low, high
        In [0, 1].
    """
    if not 0 <= found <= n or n < 1:
        raise InputError(f"a share is of at least 1, and of no more than there are; got {found} of {n}.")
    bounds = stats.binomtest(int(found), int(n)).proportion_ci(method="wilson")
    return found / n, float(bounds.low), float(bounds.high)


def _tally(found: int, n: int) -> dict[str, float]:
    return {"found": found, **dict(zip(("rate", "low", "high"), share(found, n), strict=True))}


# --- the widget -----------------------------------------------------------------------------------


class Arcade(PageWidget):
    """Studies to be drawn, and two boards on which they light up.

    Parameters
    ----------
    setting
        What the sliders set at first.
    studies
        Drawn for the figure that stands in pages without scripts.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    **state
        ``seed``, ``drawn`` and ``shown``, of the traits below.

    Attributes
    ----------
    images, noise, folds, splits, effect
        As in :class:`Setting`.
    seed
        Of the studies: the same studies every time.
    drawn
        How many studies are drawn, at most :data:`MOST`.
    shown
        Index of the one whose curve is shown; where it is not drawn, the last one.

    Raises
    ------
    traitlets.TraitError
        For a value out of range, here or later.
    """

    _esm = script("arcade_study", "arcade")
    _height = (61, 113)

    world = traitlets.Dict().tag(sync=True)
    images = traitlets.Int(Setting.images).tag(sync=True)
    noise = traitlets.Float(Setting.noise).tag(sync=True)
    folds = traitlets.Int(Setting.folds).tag(sync=True)
    splits = traitlets.Int(Setting.splits).tag(sync=True)
    effect = traitlets.Float(Setting.effect).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**32 - 1).tag(sync=True)
    drawn = traitlets.Int(0, min=0, max=MOST).tag(sync=True)
    shown = traitlets.Int(0, min=0, max=MOST).tag(sync=True)

    def __init__(
        self,
        setting: Setting | None = None,
        *,
        studies: int = 200,
        name: str = "arcade",
        caption: str = "Studies of one world, judged by two tests.",
        **state: Any,
    ) -> None:
        setting, world = setting or Setting(), _world()
        seed = state.get("seed", 0)
        packed = {f: getattr(world, f).astype("<f8").tobytes() for f in ("mixing", "thresholds", "weights")}
        groups, causes, each = world.mixing.shape
        packed |= {"groups": groups, "causes": causes, "each": each, "kept": KEPT, "signal": world.signal}
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(setting, studies, seed, name=name, caption=caption),
            world=packed | {"effects": list(EFFECTS), "gains": list(world.gains), "most": MOST},
            **asdict(setting),
            **state,
        )

    @traitlets.validate("images", "noise", "folds", "splits", "effect")
    def _in_range(self, proposal: Any) -> Any:
        try:
            Setting(**{proposal["trait"].name: proposal["value"]})
        except InputError as error:
            raise traitlets.TraitError(str(error)) from error
        return proposal["value"]

    @property
    def setting(self) -> Setting:
        """What the sliders set."""
        return Setting(self.images, self.noise, self.folds, self.splits, self.effect)

    @property
    def rates(self) -> pd.DataFrame:
        """:func:`rates` of the studies that are drawn, at least one."""
        return rates(self.setting, n=self.drawn, seed=self.seed)

    @property
    def words(self) -> tuple[str, str]:
        """What the page says: of the world, and of the study that is shown."""
        if not self.drawn:
            return _of_world(self.setting), "No study yet: draw one, ten or a hundred."
        index = min(self.shown, self.drawn - 1)
        return _of_world(self.setting), _of_study(self.setting, self.seed, index)


# --- words ----------------------------------------------------------------------------------------


def _of_world(setting: Setting) -> str:
    what = (
        "A world with an effect: the rarest eighth of the features fires for what people do not see; without "
        f"it, r with people is {_percent(setting.effect)} higher. Every dark square is a miss."
        if setting.effect
        else "A world without an effect: whatever is left out, r with people stays the same. Every light is "
        "a false positive."
    )
    noise = fixed(setting.noise, 2)
    return (
        f"{what} {setting.images} images; noise {noise} times what people share; {setting.splits} × "
        f"{setting.folds} folds."
    )


def _of_study(setting: Setting, seed: int, index: int) -> str:
    one = played(setting, seed, index)

    def said(d: float, p: float, k: int) -> str:
        lit = p < _LEVEL
        what = ("better" if d > 0 else "worse") if lit else "no difference"
        right = ("rightly" if d > 0 else "the wrong way round") if setting.effect else "a false positive"
        judged = right if lit else ("a miss" if setting.effect else "rightly")
        shown = "p\u00a0<\u00a0.001" if p < 0.001 else f"p\u00a0=\u00a0{fixed(p, 3)}"
        return f"“{what} with {_percent(k / one.ks[-1])} of the features, {shown}”, {judged}"

    return (
        f"Study {index + 1}. This world has {'an' if setting.effect else 'no'} effect. The naive test: "
        f"{said(one.naive_d, one.naive_p, one.best)}. The valid test: {said(one.valid_d, one.valid_p, KEPT)}."
    )


def _percent(share: float) -> str:
    return f"{fixed(100 * share, 0)}\u00a0%"


# --- the figure for pages without scripts ---------------------------------------------------------


def _still(setting: Setting, n: int, seed: int, *, name: str, caption: str) -> HTML:
    track = _running(setting, n, seed)
    said = [f"{row.test} {row.rate:.0%}" for row in rates(setting, n=n, seed=seed).itertuples()]
    return frame.show(
        [_shares(track), _curve(setting, seed, n - 1)],
        name=name,
        alt=f"Share of {n} studies with p below .05 against the number of studies: {', '.join(said)}; the "
        f"line is at 5 %. And the curve of the last study. {_of_study(setting, seed, n - 1)}",
        caption=caption,
        numbers=track,
        legend={"naive test": "naive", "valid test": "ours"},
    )


def _running(setting: Setting, n: int, seed: int) -> pd.DataFrame:
    """Share of the first studies, with intervals."""
    every = [played(setting, seed, index) for index in range(n)]
    columns: dict[str, Any] = {"study": np.arange(1, n + 1)}
    for test in _TESTS:
        p = np.array([getattr(one, f"{test}_p") for one in every])
        rows = [_tally(int(found), i + 1) for i, found in enumerate((p < _LEVEL).cumsum())]
        columns |= {f"{test}_p": p}
        columns |= {f"{test}_{what}": [row[what] for row in rows] for what in ("rate", "low", "high")}
    return pd.DataFrame(columns)


def _shares(track: pd.DataFrame) -> Figure:
    figure, axes = plots.panel(3.3, 2.5, title="share of studies that light up")
    for test, colour in (("naive", "naive"), ("valid", "ours")):
        shade, shown = palette.COLOURS[colour], track.iloc[min(9, len(track) - 1) :]
        low, high = shown[f"{test}_low"], shown[f"{test}_high"]
        axes.fill_between(shown["study"], low, high, color=shade, alpha=0.2, linewidth=0)
        axes.plot(shown["study"], shown[f"{test}_rate"], color=shade)
    axes.axhline(_LEVEL, color=palette.INK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set(xlabel="studies", xlim=(0, len(track)), ylim=(0, None))
    plots.percent(axes, "y")
    return figure


def _curve(setting: Setting, seed: int, index: int) -> Figure:
    one = played(setting, seed, index)
    figure, axes = plots.panel(3.3, 2.5, title=f"study {index + 1}: its curve")
    share = np.array(one.ks) / one.ks[-1]
    axes.plot(share, truth(setting), color=palette.INK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.plot(share, one.r, color=palette.COLOURS["random"], marker="o", markersize=3)
    marks = [(one.best, one.naive_p, "naive", "o"), (KEPT, one.valid_p, "ours", "s")]
    for k, p, colour, marker in marks:
        shade = palette.COLOURS[colour]
        place, r = k / one.ks[-1], one.r[one.ks.index(k)]
        face = shade if p < _LEVEL else "none"
        axes.plot(place, r, marker=marker, markersize=8, color=shade, markerfacecolor=face, linestyle="none")
    axes.set(xlabel="features kept, low→high PoZ", ylabel="r with people")
    axes.margins(y=0.25)
    plots.percent(axes, "x")
    return figure
