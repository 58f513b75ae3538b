"""You are the subject: images are arranged by similarity in the page, and the network stands beside.

Everything happens in the browser: the arrangements, the RDM behind them (:mod:`rarefire.multiarrange`), the
curve of PoZ slices against it, and what chance gives. Until somebody has arranged, and whenever it is asked
for, a simulated subject stands in, who is never called a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rarefire import multiarrange, poz, rdm, reliability
from rarefire._engine.resampling import jackknife_variance
from rarefire.curves import ENOUGH, Curve, count, enough, rdm_curve
from rarefire.errors import InputError
from rarefire.multiarrange import Arrangement
from rarefire.page import frame, palette, plots
from rarefire.page.widgets import PageWidget, script

__all__ = ["ORDERS", "WHO", "Subject"]

ORDERS = ("low", "high")
WHO = ("you", "simulated")

_MOST_IMAGES = 40  # more do not fit around an arena on a telephone
_RELABELLED = 199  # random RDMs
_BELOW = 0.95  # share of them that lies below what is drawn

_Floats = NDArray[np.float64]


class Subject(PageWidget):
    """An arena for arranging images, and what comes out.

    Parameters
    ----------
    images
        ``(n, 1 or 3, height, width)`` in [0, 1]; 4 to 40 of them.
    embedding
        ``(n, n_features)``, post-ReLU, of the network beside.
    names
        ``(n,)``, of the images, each another: what a screen reader says, and what a saved file calls them.
    simulated
        Runs of a simulated subject (:func:`rarefire.multiarrange.simulate`), at least one; each begins with
        all images.
    poz
        ``(n_features,)`` in [0, 1]; by default over these images. From more images where there are more.
    network
        What the network is called.
    seed
        Of the relabelled RDMs.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    **state
        Any of the traits below.

    Attributes
    ----------
    runs
        The reader's: for each, ``done``, and ``trials`` with ``images`` (m,) and ``places`` (m, 2) in units
        of the arena's diameter. In a page without a kernel they stay there.
    who
        Whose RDM is shown, ``"you"`` or ``"simulated"``; the simulated subject's as long as no run
        of the reader's is done.
    run
        Which run is shown, from 1; 0 for the mean over runs, each brought to mean 0 and standard deviation 1.
    fraction
        Share of the features that is kept, in [0, 1]; at least one is.
    order
        ``"low"`` (low→high PoZ) or ``"high"``.
    required, most
        A run ends when each pair has this much evidence, or after so many trials.

    Raises
    ------
    InputError
        For arrays that do not fit each other, activations that are not post-ReLU, and no simulated run.
    traitlets.TraitError
        For a trait out of range and for runs that are none, here or later.
    """

    _esm = script("geometry", "subject")
    _height = (83, 138)

    sprite = traitlets.Dict().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    network = traitlets.Unicode("the network").tag(sync=True)
    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    embedding = traitlets.Bytes().tag(sync=True)
    rates = traitlets.Bytes().tag(sync=True)
    orders = traitlets.Dict().tag(sync=True)
    relabelled = traitlets.Bytes().tag(sync=True)
    below = traitlets.Float(_BELOW, read_only=True).tag(sync=True)
    least = traitlets.Float(ENOUGH, read_only=True).tag(sync=True)
    t = traitlets.Float().tag(sync=True)
    colours = traitlets.Bytes().tag(sync=True)
    simulated = traitlets.List(traitlets.Dict()).tag(sync=True)
    runs = traitlets.List(traitlets.Dict()).tag(sync=True)
    required = traitlets.Float(multiarrange.REQUIRED, min=0.01).tag(sync=True)
    most = traitlets.Int(multiarrange.MOST, min=1).tag(sync=True)
    who = traitlets.Enum(WHO, default_value="simulated").tag(sync=True)
    run = traitlets.Int(0, min=0).tag(sync=True)
    fraction = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    order = traitlets.Enum(ORDERS, default_value="low").tag(sync=True)

    def __init__(
        self,
        images: ArrayLike,
        embedding: ArrayLike,
        *,
        names: Sequence[str],
        simulated: Sequence[Sequence[Arrangement]],
        poz: ArrayLike | None = None,
        network: str = "the network",
        seed: int = 0,
        name: str = "subject",
        caption: str = "Arrange the images by similarity, and see where you stand beside the network.",
        **state: Any,
    ) -> None:
        self._features = rdm.check_embedding(embedding)
        pictures = _pictures(images, names, len(self._features))
        self._poz, self._orders = _orders(self._features, poz)
        n, p = self._features.shape
        if not simulated:
            raise InputError("a page needs at least one run of a simulated subject (multiarrange.simulate).")
        made = [
            {
                "done": True,
                "trials": [{"images": t.images.tolist(), "places": t.places.tolist()} for t in run],
            }
            for run in simulated
        ]
        self._n = n
        for what in (made, state.get("runs", [])):
            _read(what, n)
        rng = np.random.default_rng(seed)
        self._relabelled = np.stack([rng.permutation(n) for _ in range(_RELABELLED)])
        super().__init__(
            name=name,
            caption=caption,
            fallback=self._still(made, network, name, caption),
            sprite=frame.sprite(pictures, largest=64),
            names=[str(one) for one in names],
            network=network,
            shape=[n, p],
            embedding=self._features.astype("<f4").tobytes(),
            rates=self._poz.astype("<f4").tobytes(),
            orders={key: order.astype("<u2").tobytes() for key, order in self._orders.items()},
            relabelled=self._relabelled.astype(np.uint8).tobytes(),
            t=float(stats.t.ppf(0.975, n - 1)),
            colours=palette.shades(),
            simulated=made,
            **state,
        )

    @traitlets.validate("runs")
    def _are_runs(self, proposal: Any) -> Any:
        try:
            _read(proposal["value"], self._n)
        except InputError as error:
            raise traitlets.TraitError(f"runs: {error}") from error
        return proposal["value"]

    def rdms(self, who: str) -> _Floats:
        """Of every run that is done, ``(n_runs, n_pairs)``; of ``"you"`` or ``"simulated"``."""
        if who not in WHO:
            raise InputError(f"who is one of {', '.join(WHO)}; got {who!r}.")
        return _rdms(self.runs if who == "you" else self.simulated, self._n)

    @property
    def shown(self) -> str:
        """Whose RDM is shown: `who`, as far as a run is done."""
        return "you" if self.who == "you" and len(self.rdms("you")) else "simulated"

    @property
    def human(self) -> _Floats:
        """The RDM that is shown, condensed."""
        every = self.rdms(self.shown)
        return every[self.run - 1] if 1 <= self.run <= len(every) else _mean(every)

    @property
    def agreement(self) -> tuple[float, float] | None:
        """Mean correlation of two runs, and the reliability of the mean over all (Spearman–Brown).

        None for a single run; the second is NaN where runs contradict each other.
        """
        every = self.rdms(self.shown)
        if len(every) < 2:
            return None
        pairs = [np.corrcoef(a, b)[0, 1] for i, a in enumerate(every) for b in every[:i]]
        corrected = reliability.of_parts(every)
        return float(np.mean(pairs)), float("nan") if corrected is None else corrected

    @property
    def k(self) -> int:
        """Number of features kept."""
        return count(float(self.fraction), self._features.shape[1])

    def curve(self) -> Curve:
        """R² of the first k features' RDM with the one shown, in the order in use."""
        return rdm_curve(self._features, self.human, self._orders[self.order])

    @property
    def r(self) -> float:
        """Pearson correlation at the slider's place; NaN if too few images have a similarity."""
        curve = self.curve()
        return float(curve.r[self.k - 1]) if enough(curve.n_images[self.k - 1], self._n) else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of `r`, from leaving out one image at a time (jackknife, t with n − 1 degrees of freedom)."""
        human, order = rdm.square(self.human), self._orders[self.order]
        without = []
        for image in range(self._n):
            others = np.delete(np.arange(self._n), image)
            left = rdm.condensed(human[np.ix_(others, others)])
            without.append(rdm_curve(self._features[others], left, order, k=[self.k]).r[0])
        half = self.t * np.sqrt(jackknife_variance(np.array(without)))
        return max(-1.0, float(self.r - half)), min(1.0, float(self.r + half))

    def chance(self) -> _Floats:
        """``(n_features,)``: the R² below which 95 % of RDMs lie whose images were relabelled at random."""
        human = rdm.square(self.human)
        r2 = np.stack(
            [
                rdm_curve(self._features, rdm.condensed(human[np.ix_(to, to)]), self._orders[self.order]).r2
                for to in self._relabelled
            ]
        )
        ranked = np.sort(r2, axis=0)[int(np.ceil(_BELOW * len(r2))) - 1]
        return np.where(np.isfinite(r2).all(axis=0), ranked, np.nan)

    def _still(self, made: Sequence[Mapping[str, Any]], network: str, name: str, caption: str) -> HTML:
        """The figure for pages without scripts: the simulated subject, the network, the curves."""
        human = _mean(_rdms(made, self._n))
        curves = {order: rdm_curve(self._features, human, self._orders[order]) for order in ORDERS}
        own = rdm.rdm(self._features)
        with palette.style():
            figure, axes = plots.panel(3.0, 2.0, title="PoZ slices against the RDM")
            share = np.arange(1, len(curves["low"].r2) + 1) / len(curves["low"].r2)
            for order, curve in curves.items():
                axes.plot(share, curve.r2, color=palette.COLOURS[order])
            axes.set(xlabel="share of features kept", ylabel="R²", ylim=(0, None))
            plots.percent(axes, "x")
        panels = [
            plots.rdm_panel(rdm.square(human), title="simulated subject", size=1.7),
            plots.rdm_panel(rdm.square(own), title=network, size=1.7),
            figure,
        ]
        r2 = curves["low"].r2[-1]
        return frame.show(
            panels,
            name=name,
            alt=f"RDM of a simulated subject, no person, beside that of {network}, and R² between the first "
            f"features in order of PoZ and the subject: {r2:.3f} with all {len(share)}.",
            caption=caption,
            numbers=pd.DataFrame(
                {"k": curves["low"].k, **{f"r2_{order}": curve.r2 for order, curve in curves.items()}}
            ),
            legend={"low→high PoZ": "low", "high→low PoZ": "high"},
        )


def _pictures(images: ArrayLike, names: Sequence[str], n: int) -> _Floats:
    given = np.asarray(images, dtype=np.float64)
    if not 4 <= n <= _MOST_IMAGES:
        raise InputError(f"4 to {_MOST_IMAGES} images can be arranged here; got {n}.")
    if given.ndim != 4 or len(given) != n or given.shape[1] not in (1, 3):
        raise InputError(f"images must be ({n}, 1 or 3, height, width), as the embedding; got {given.shape}.")
    if not (given.min() >= 0 and given.max() <= 1):
        raise InputError(f"images must lie in [0, 1]; got {given.min():.3g} to {given.max():.3g}.")
    if len(names) != n or len(set(names)) < n:
        raise InputError(f"names must be {n} different ones, one per image; got {list(names)[:5]}…")
    return given


def _orders(features: _Floats, rates: ArrayLike | None) -> tuple[_Floats, dict[str, NDArray[np.intp]]]:
    own = poz.poz(features)  # refuses what is not post-ReLU
    given = own if rates is None else np.asarray(rates, dtype=np.float64)
    if given.shape != own.shape or not ((given >= 0) & (given <= 1)).all():
        raise InputError(f"poz must be {own.shape}, one share in [0, 1] per feature; got {given.shape}.")
    return given, {"low": poz.order(given, first="low"), "high": poz.order(given, first="high")}


def _read(runs: Sequence[Mapping[str, Any]], n: int) -> list[list[Arrangement]]:
    """Runs as they travel; each has all images together first."""
    found = []
    for run in runs:
        try:
            trials = [Arrangement(np.array(t["images"]), np.array(t["places"])) for t in run["trials"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"a run has trials with images and places; got {run!r:.80}.") from error
        if trials and sorted(trials[0].images.tolist()) != list(range(n)):
            raise InputError(f"a run begins with all {n} images; got {len(trials[0].images)}.")
        found.append(trials)
    return found


def _rdms(runs: Sequence[Mapping[str, Any]], n: int) -> _Floats:
    done = [trials for trials, run in zip(_read(runs, n), runs, strict=True) if trials and run.get("done")]
    found = [multiarrange.estimate(trials, n_images=n).rdm for trials in done]
    return np.array(found).reshape(len(found), n * (n - 1) // 2)


def _mean(rdms: _Floats) -> _Floats:
    return rdms[0] if len(rdms) == 1 else reliability.mean_rdm(reliability.on_one_scale(rdms))
