"""Pruning compared: a slider for the weights that are left, under which similarity, accuracy and RDMs move.

Everything that the slider can reach was measured beforehand by :mod:`rarefire.records.pruned`; what travels
in the page are medians and ranges over instances, and of the first instance small RDMs and counts of units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from rarefire import rdm
from rarefire.errors import InputError
from rarefire.page import frame, palette, plots
from rarefire.page.scorecard import MEASURED
from rarefire.page.widgets import PageWidget, extents, fixed, script
from rarefire.pruning import DENSE, METHODS
from rarefire.records.pruned import WIDTHS, Pruned
from rarefire.records.record import Record
from rarefire.similarity import MEASURES

__all__ = ["BANDS", "PruningMap"]

#: Controls in which nothing is masked -> what a legend says.
BANDS = {"again": "trained again", "seed": "another seed"}

_EACH = 3  # images of each class in an RDM
_BINS = 20  # of APoZ
_SHORT = {"pearson": "R²", "cosine": "R² (cosine)", "cka": "CKA", "cca": "CCA"}
_SAYS = {  # after "fc2’s"
    "pearson": "RDM agrees with the dense network’s at R²",
    "cosine": "cosine RDM agrees with the dense network’s at R²",
    "cka": "CKA with the dense network is",
    "cca": "mean canonical correlation with the dense network is",
}
_BESIDE = {"again": "trained again without pruning", "seed": "another seed"}
_UNDEFINED = 255


class PruningMap(PageWidget):
    """Pruned networks beside the one that they began as.

    Parameters
    ----------
    found
        By image set, :func:`rarefire.records.pruned.measure`; networks of one architecture.
    samples
        By image set, :func:`rarefire.records.pruned.sample` of the same setting; where it is missing, no
        RDMs are shown.
    titles
        Of the image sets; by default :data:`rarefire.page.palette.LABELS`.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    **state
        Any of the traits below.

    Attributes
    ----------
    images
        Name of the image set, a key of `found`.
    method
        Of :data:`rarefire.pruning.METHODS`, one that masks weights. Where the image set does not have it,
        its first.
    layer
        What is compared: ``pool1``, ``pool2``, ``fc1`` and ``fc2`` (after the ReLU) and ``outputs`` of
        LeNet-5.
    measure
        Of :data:`rarefire.similarity.MEASURES`.
    step
        Index of the method's round among those that were measured, 0 for the dense network; where there
        are fewer, the last one.

    Raises
    ------
    InputError
        For records that do not fit each other.
    traitlets.TraitError
        For a name that does not exist or a step out of range, here or later.
    """

    _esm = script("prunings")
    _height = (56, 107)

    sets = traitlets.List(traitlets.Dict()).tag(sync=True)
    words_of = traitlets.Dict().tag(sync=True)
    colours = traitlets.Bytes().tag(sync=True)
    images = traitlets.Unicode().tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    layer = traitlets.Unicode().tag(sync=True)
    measure = traitlets.Enum(MEASURES, default_value="pearson").tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        found: Mapping[str, Pruned],
        samples: Mapping[str, Record | None] | None = None,
        *,
        titles: Mapping[str, str] = palette.LABELS,
        name: str = "prunings",
        caption: str = "What pruned networks keep of the dense one.",
        **state: Any,
    ) -> None:
        if not found:
            raise InputError("a map of prunings needs at least one image set.")
        self._sets = {key: _Compared(key, each, (samples or {}).get(key)) for key, each in found.items()}
        first, *others = self._sets.values()
        for other in others:
            if other.layers != first.layers:
                what = f"{', '.join(first.layers)} and {', '.join(other.layers)}"
                raise InputError(f"one map shows networks of one architecture; got layers {what}.")
        state = {
            "images": first.name,
            "method": first.methods[0],
            "layer": first.layers[-2],
            **state,
        }
        for trait, value in state.items():
            if trait in ("images", "method", "layer", "step"):
                self._check(trait, value)
        shown = self._sets[state["images"]]
        which = (shown.known(state["method"]), state["layer"], state.get("measure", MEASURES[0]))
        if which[2] not in MEASURES:
            raise traitlets.TraitError(f"measure is one of {', '.join(MEASURES)}; got {which[2]!r}.")
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(shown, *which, name=name, caption=caption),
            sets=[each.packed(titles.get(key, key)) for key, each in self._sets.items()],
            words_of={
                # A notebook sorts the keys of what it keeps.
                "order": {"layers": first.layers, "measures": list(MEASURES), "methods": list(METHODS)},
                "layers": {layer: _possessive(layer) for layer in first.layers},
                "methods": {key: method.title for key, method in METHODS.items()},
                "bands": BANDS,
                "beside": _BESIDE,
                "colours": {key: palette.page_colour(colour) for key, colour in plots.PRUNED.items()},
                "measures": MEASURED,
                "short": _SHORT,
                "says": _SAYS,
            },
            colours=palette.shades(),
            **state,
        )

    @traitlets.validate("images", "method", "layer", "step")
    def _in_range(self, proposal: Any) -> Any:
        return self._check(proposal["trait"].name, proposal["value"])

    def _check(self, trait: str, value: Any) -> Any:
        every = self._sets.values()
        if trait == "step":
            most = max(len(steps) for each in every for steps in each.steps.values())
            if not isinstance(value, int | np.integer) or not 0 <= value < most:
                raise traitlets.TraitError(f"step is an index from 0 to {most - 1}; got {value}.")
            return value
        there = {
            "images": list(self._sets),
            "method": [m for m in METHODS if any(m in each.steps for each in every)],
            "layer": next(iter(every)).layers,
        }[trait]
        if value not in there:
            raise traitlets.TraitError(f"{trait} is one of {', '.join(there)}; got {value!r}.")
        return value

    def _shown(self) -> tuple[_Compared, int, int, int]:
        """The image set, and the indices of network, layer and measure."""
        shown = self._sets[self.images]
        steps = shown.steps[shown.known(self.method)]
        at = steps[min(self.step, len(steps) - 1)]
        return shown, at, shown.layers.index(self.layer), MEASURES.index(self.measure)

    @property
    def share(self) -> float:
        """Share of the weights that are left, median over instances."""
        shown, at, _, _ = self._shown()
        return float(shown.share[at])

    @property
    def similarity(self) -> float:
        """With the dense network, by the measure shown, median over instances; NaN where undefined."""
        shown, at, layer, measure = self._shown()
        return float(shown.alike[at, layer, measure, 1])

    @property
    def accuracy(self) -> float:
        """On test images, median over instances."""
        shown, at, _, _ = self._shown()
        return float(shown.accuracy[at, 1])

    @property
    def r2(self) -> float:
        """R² of the two RDMs shown, of the first instance; NaN where undefined or not shown."""
        shown, at, layer, _ = self._shown()
        return float(shown.r2[shown.reached.index(at), layer]) if shown.shown else np.nan

    @property
    def gone(self) -> int:
        """How many of the layer's units have no weight left, in the first instance."""
        shown, at, layer, _ = self._shown()
        return int(shown.gone[at, layer])

    @property
    def words(self) -> str:
        """What the page says of the state."""
        shown, at, layer, measure = self._shown()
        beside = [
            f"{_BESIDE[control]}: {_number(band[layer, measure, 1])}" for control, band in shown.bands.items()
        ]
        if self.measure == "cca":
            beside.append(f"chance: {_number(shown.chance[layer, 1])}")
        compared = f"{_possessive(self.layer)} {_SAYS[self.measure]} {_number(self.similarity)}"
        compared += f" ({'; '.join(beside)})" if beside else ""
        right, dense = (_percent(shown.accuracy[i, 1], 1) for i in (at, shown.dense))
        left = f"{_percent(self.share)} of the weights left"
        return f"{left}: {compared}; accuracy {right} (dense {dense})."


class _Compared:
    """What was measured on one image set, over instances: lowest, median and highest on the last axis."""

    def __init__(self, name: str, found: Pruned, sample: Record | None) -> None:
        self.name, self.instances = name, len(found)
        if not (found.method == found.method[0]).all() or not (found.number == found.number[0]).all():
            raise InputError(f"instances of {name!r} must have the same networks in the same order.")
        self.method, self.number = found.method[0].astype(str), found.number[0].astype(int)
        shown = _layers(found, name)
        self.layers, places = [layer.title for layer in shown], [layer.place for layer in shown]
        if not (dense := np.flatnonzero(self.method == DENSE)).size:
            raise InputError(f"there is no dense network among those of {name!r}.")
        self.dense = int(dense[0])
        self.share = np.median(found.share, axis=0).astype("<f4")
        self.steps = {}
        for method in METHODS:
            own = np.flatnonzero(self.method == method)
            if own.size and (self.share[own] < 1).any():
                ordered = own[np.argsort(self.number[own], kind="stable")]
                self.steps[method] = [self.dense, *ordered.tolist()]
        self.reached = sorted({network for steps in self.steps.values() for network in steps})
        if not self.steps:
            raise InputError(f"no method masked any weight of {name!r}: there is nothing to compare.")
        self.alike = extents(found.alike[:, :, places])
        self.accuracy = extents(found.accuracy)
        self.chance = extents(found.chance[:, places])
        self.bands = {}
        for control in BANDS:
            alike = found.alike[:, self.method == control][:, :, places]
            if alike.size:  # each of its rounds is another network
                self.bands[control] = extents(alike.reshape(-1, *alike.shape[2:]))
        self._count(found, shown)
        self.shown = 0
        if sample is not None:
            self._sample(sample, [layer.activation for layer in shown])

    @property
    def methods(self) -> list[str]:
        return list(self.steps)

    def known(self, method: str) -> str:
        """The method, or where there is none, the first."""
        return method if method in self.steps else self.methods[0]

    def _count(self, found: Pruned, layers: list[_Layer]) -> None:
        """Units of each layer by their APoZ, in the first instance; those that are gone are counted apart."""
        n, edges = len(self.method), np.linspace(0, 1, _BINS + 1)
        self.units = [layer.n_units for layer in layers]
        self.counts = np.zeros((n, len(layers), _BINS), dtype="<u2")
        self.gone, self.dead = np.zeros((2, n, len(layers)), dtype="<u2")
        for network in range(n):
            for place, layer in enumerate(layers):
                there = found.incoming[0, network, layer.units] > 0
                rates = found.apoz[0, network, layer.units][there]
                self.counts[network, place] = np.histogram(rates.clip(0, 1), edges)[0]
                self.gone[network, place] = (~there).sum()
                self.dead[network, place] = (rates >= 1).sum()

    def _sample(self, sample: Record, layers: list[str]) -> None:
        """RDMs of the first instance, of a few images, of the networks that the slider reaches."""
        own = zip(sample["method"].tolist(), sample["number"].tolist(), strict=True)
        rows = {(str(method), int(number)): row for row, (method, number) in enumerate(own)}
        wanted = [(str(self.method[i]), int(self.number[i])) for i in self.reached]
        if absent := [each for each in wanted if each not in rows]:
            method, number = absent[0]
            raise InputError(
                f"the sample of {self.name!r} lacks {method!r} in round {number} ({len(absent)} are missing)."
            )
        names, labels = [str(name) for name in sample["layers"]], np.asarray(sample["labels"])
        if absent_layers := [layer for layer in layers if layer not in names]:
            raise InputError(f"the sample of {self.name!r} lacks layer {absent_layers[0]!r}.")
        few = np.concatenate([np.flatnonzero(labels == label)[:_EACH] for label in np.unique(labels)])
        place = np.zeros((len(labels), len(labels)), dtype=np.intp)
        place[np.triu_indices(len(labels), k=1)] = np.arange(len(labels) * (len(labels) - 1) // 2)
        pairs = (place + place.T)[np.ix_(few, few)][np.triu_indices(len(few), k=1)]
        order = [rows[each] for each in wanted]
        self.rdm = sample["rdm"][np.ix_(order, [names.index(layer) for layer in layers], pairs)]
        self.shown = len(few)
        dense = self.rdm[self.reached.index(self.dense)]
        r2 = [[_agreement(*pair) for pair in zip(dense, now, strict=True)] for now in self.rdm]
        self.r2 = np.array(r2, dtype="<f4")

    def packed(self, title: str) -> dict[str, Any]:
        """What travels in the page."""
        made: dict[str, Any] = {
            "name": self.name,
            "title": title,
            "instances": self.instances,
            "method": self.method.tolist(),
            "number": self.number.tolist(),
            "dense": self.dense,
            "steps": self.steps,
            "layers": self.layers,
            "units": self.units,
            "bins": _BINS,
            "shown": self.shown,
            **{
                name: getattr(self, name).tobytes()
                for name in ("share", "alike", "accuracy", "chance", "counts", "gone", "dead")
            },
            "bands": {control: band.tobytes() for control, band in self.bands.items()},
        }
        if self.shown:
            made |= {"reached": self.reached, "rdm": self.rdm.tobytes(), "r2": self.r2.tobytes()}
        return made


# --- what belongs together --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """One that is shown: its place among those compared, its activation, its title and its units."""

    place: int
    activation: str
    title: str
    units: slice

    @property
    def n_units(self) -> int:
        return int(self.units.stop - self.units.start)


def _layers(found: Pruned, name: str) -> list[_Layer]:
    """A ReLU goes under the name of its layer with weights, and is left out where it is pooled."""
    names, widths = found.layers, WIDTHS[found.network]
    if found.alike.shape[2:] != (len(names), len(MEASURES)):
        raise InputError(
            f"similarities of {name!r} must be of {len(names)} layers by {len(MEASURES)} measures; got "
            f"{found.alike.shape[2:]}."
        )
    n_units = sum(widths.values())
    if found.apoz.shape[2] != n_units or found.incoming.shape != found.apoz.shape:
        raise InputError(
            f"apoz and incoming of {name!r} must be of {n_units} units; got {found.apoz.shape[2]} and "
            f"{found.incoming.shape[2]}."
        )
    relus = [activation for activation in names if activation.startswith("relu")]
    there = {relu: (layer, found.units_of(layer)) for relu, layer in zip(relus, widths, strict=True)}
    shown, units = [], slice(0, 0)
    for place, (activation, after) in enumerate(zip(names, [*names[1:], ""], strict=True)):
        title, units = there.get(activation, (activation, units))
        if not after:
            title, units = "outputs", slice(0, 0)
        if not after.startswith("pool"):
            shown.append(_Layer(place, activation, title, units))
    return shown


def _agreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """R² of two quantised RDMs; NaN where it is undefined."""
    a, b = (np.where(d == _UNDEFINED, np.nan, d) for d in (first, second))
    try:
        return rdm.compare(a, b)
    except InputError:
        return float("nan")


# --- words ------------------------------------------------------------------------------------------


def _possessive(layer: str) -> str:
    return "the outputs’" if layer == "outputs" else f"{layer}’s"


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else fixed(value, 3).replace("-", "−")


def _percent(share: float, digits: int | None = None) -> str:
    digits = (1 if share < 0.1 else 0) if digits is None else digits
    return f"{fixed(100 * float(share), digits)}\u00a0%"


# --- the figure for pages without scripts -----------------------------------------------------------


def _still(shown: _Compared, method: str, layer: str, measure: str, *, name: str, caption: str) -> HTML:
    at = (shown.layers.index(layer), MEASURES.index(measure))
    bands = {control: band[at] for control, band in shown.bands.items()}
    panels = [
        _panel(shown, method, shown.alike[:, at[0], at[1]], bands, title=layer),
        _panel(
            shown,
            method,
            shown.accuracy,
            {DENSE: shown.accuracy[shown.dense]},
            title="accuracy (dashed: dense)",
        ),
    ]
    panels[0].set(ylabel=f"{_SHORT[measure]} with the dense network")
    panels[1].set(ylabel="on test images")
    plots.percent(panels[1], "y")
    last = shown.steps[method][-1]
    said = (
        f"{layer} at {_percent(shown.share[last])} of the weights: {_SHORT[measure]} with the dense network "
        f"{_number(shown.alike[(last, *at, 1)])}, accuracy {_percent(shown.accuracy[last, 1], 1)} "
        f"(dense {_percent(shown.accuracy[shown.dense, 1], 1)})"
    )
    return frame.show(
        [axes.figure for axes in panels],  # type: ignore[misc]
        name=name,
        alt=f"Similarity with the dense network, and accuracy, against the share of weights left. "
        f"{METHODS[method].title}, {said}.",
        caption=caption,
        numbers=_table(shown, *at),
        legend={
            **{METHODS[key].title: plots.PRUNED[key] for key in shown.steps},
            **{BANDS[control]: plots.PRUNED[control] for control in shown.bands},
        },
    )


def _panel(
    shown: _Compared,
    method: str,
    values: NDArray[np.float32],
    bands: Mapping[str, NDArray[np.float32]],
    *,
    title: str,
) -> Axes:
    _, axes = plots.panel(3.1, 2.3, title=title)
    for control, (low, middle, high) in bands.items():
        ink = palette.INK if control == DENSE else palette.COLOURS[plots.PRUNED[control]]
        axes.axhspan(low, high, color=ink, alpha=0.16, linewidth=0)
        axes.axhline(middle, color=ink, linewidth=1, linestyle=":" if control == "seed" else "--")
    for each, steps in shown.steps.items():
        ink, (low, middle, high) = palette.COLOURS[plots.PRUNED[each]], values[steps].T
        if each == method:
            axes.fill_between(shown.share[steps], low, high, color=ink, alpha=0.2, linewidth=0)
            axes.plot(shown.share[steps], middle, color=ink, marker="o", markersize=3, zorder=3)
        else:
            axes.plot(shown.share[steps], middle, color=ink, linewidth=0.8)
    axes.set(xscale="log", xlabel="share of weights left", xlim=(1.03, 0.97 * min(0.1, shown.share.min())))
    axes.xaxis.set_major_locator(FixedLocator([1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    return axes


def _table(shown: _Compared, layer: int, measure: int) -> pd.DataFrame:
    """A line for each network: what the lines are made of."""
    alike, right = shown.alike[:, layer, measure], shown.accuracy
    parts = {f"{what}{end}": values[:, i] for what, values in (("similarity", alike), ("accuracy", right))
             for i, end in ((1, ""), (0, "_low"), (2, "_high"))}  # fmt: skip
    return pd.DataFrame({"method": shown.method, "round": shown.number, "share": shown.share, **parts})
