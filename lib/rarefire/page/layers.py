"""A network layer by layer: a slider under which dimension, its scale and what single units know move.

Everything was measured beforehand, by :mod:`rarefire.records.dimension` and, of single units, by
:mod:`rarefire.records.information`; what travels in the page are medians and ranges over networks, and the
units of the first one. First axes of two are untrained, trained, as in what is recorded of units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from rarefire import units
from rarefire.errors import InputError
from rarefire.page import frame, palette, plots
from rarefire.page.dimensions import PROPERTIES, STATES
from rarefire.page.widgets import PageWidget, extents, fixed, script
from rarefire.records.dimension import Dimensions
from rarefire.records.information import SHOWN_UNITS
from rarefire.records.record import Record

__all__ = ["LayerMap"]

_NAMES = ("untrained", "trained")
_STEPS, _UNMEASURED = 160, 255  # of bits, as rarefire.records.information.sample keeps them
_NOTHING = {  # what is said where no units are shown
    "network": "Single units of {network} are not shown here.",
    "layer": "No units of {layer}: only what is behind a ReLU has a PoZ.",
    "property": "Most windows of {layer} have no {what}: it was not measured.",
}


class LayerMap(PageWidget):
    """Dimension, and what single units know, through the layers of trained and untrained networks.

    Parameters
    ----------
    found
        By name of an image set or a network: :func:`rarefire.records.dimension.known`,
        :func:`~rarefire.records.dimension.known_network`.
    samples
        By the same names, :func:`rarefire.records.information.sample`; where it is missing, no units are
        shown. A layer of it belongs to the layer of that name, else to the step that its name lies in, as
        ``features.4.depthwise.2`` in ``features.4``; one that has none is left out.
    titles
        Of the networks; by default :data:`rarefire.page.palette.LABELS`.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    **state
        Any of the traits below.

    Attributes
    ----------
    network
        A key of `found`.
    layer
        Index of the layer; where the network has fewer, its last. At first the first one with units.
    what
        What its units are asked about, a key of :data:`rarefire.page.dimensions.PROPERTIES`. Where the
        network's were not, their first.

    Raises
    ------
    InputError
        For records that do not fit each other.
    traitlets.TraitError
        For a name that does not exist or a layer out of range, here or later.
    """

    _esm = script("layers")
    _height = (35, 90)

    networks = traitlets.List(traitlets.Dict()).tag(sync=True)
    words_of = traitlets.Dict().tag(sync=True)
    network = traitlets.Unicode().tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    what = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        found: Mapping[str, Dimensions],
        samples: Mapping[str, Record | None] | None = None,
        *,
        titles: Mapping[str, str] = palette.LABELS,
        name: str = "layers",
        caption: str = "Dimension, and what single units know, through the layers.",
        **state: Any,
    ) -> None:
        if not found:
            raise InputError("a map of layers needs at least one network.")
        self._networks = {
            key: _Network(key, titles.get(key, key), each, (samples or {}).get(key))
            for key, each in found.items()
        }
        asked = {what for each in self._networks.values() for what in each.asked}
        self._asked = [what for what in PROPERTIES if what in asked] or list(PROPERTIES)
        self._check("network", state.setdefault("network", next(iter(found))))
        shown = self._networks[state["network"]]
        self._check("layer", state.setdefault("layer", shown.first))
        self._check("what", state.setdefault("what", self._asked[0]))
        at, what = shown.last(state["layer"]), shown.known(state["what"])
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(shown, at, what, name=name, caption=caption),
            networks=[each.packed() for each in self._networks.values()],
            words_of={"properties": PROPERTIES, "nothing": _NOTHING, "most": SHOWN_UNITS},
            **state,
        )

    @traitlets.validate("network", "layer", "what")
    def _in_range(self, proposal: Any) -> Any:
        return self._check(proposal["trait"].name, proposal["value"])

    def _check(self, trait: str, value: Any) -> Any:
        if trait == "layer":
            most = max(len(each.layers) for each in self._networks.values())
            if not isinstance(value, int | np.integer) or not 0 <= value < most:
                raise traitlets.TraitError(f"layer is an index from 0 to {most - 1}; got {value}.")
            return value
        there = list(self._networks) if trait == "network" else self._asked
        if value not in there:
            raise traitlets.TraitError(f"{trait} is one of {', '.join(there)}; got {value!r}.")
        return value

    def _shown(self) -> tuple[_Network, int, str]:
        """The network, the index of the layer, and what is asked."""
        shown = self._networks[self.network]
        return shown, shown.last(self.layer), shown.known(self.what)

    @property
    def dimension(self) -> NDArray[np.float32]:
        """``(2,)``, untrained and trained: TwoNN of the layer, median over networks; NaN without any."""
        shown, at, _ = self._shown()
        return shown.two_nn[:, at, 0, 1]

    @property
    def known(self) -> NDArray[np.float64]:
        """``(2,)``, untrained and trained: what the median unit knows, in bits; NaN where none is shown."""
        shown, at, what = self._shown()
        return np.median(shown.bits_of(at, what), axis=1) if shown.here(at, what) else np.full(2, np.nan)

    @property
    def poz(self) -> NDArray[np.float64]:
        """``(2,)``, untrained and trained: the median unit's PoZ; NaN where none is shown."""
        shown, at, what = self._shown()
        return np.median(shown.poz_of(at), axis=1) if shown.here(at, what) else np.full(2, np.nan)

    @property
    def words(self) -> str:
        """What the page says of the state."""
        return _words(*self._shown())


class _Network:
    """What was measured of one network: TwoNN over instances, and the units of the first, if any."""

    def __init__(self, name: str, title: str, found: Dimensions, sample: Record | None) -> None:
        self.name, self.title, self.layers = name, title, list(found.layers)
        for what, values in (("layers", found.layer), ("numbers of images", found.points)):
            if not (values == values[0]).all():
                raise InputError(f"instances of {name!r} must have the same {what}.")
        self.points = [int(n) for n in found.points[0]]
        shape = (2, len(self.layers), len(self.points))
        self.two_nn, self.se = np.full((*shape, 3), np.nan, "<f4"), np.full(shape, np.nan, "<f4")
        self.n = [0, 0]
        for trained in STATES:
            two_nn, se = (found.state(values, trained=trained) for values in (found.two_nn, found.se))
            if len(two_nn):
                self.n[trained] = len(two_nn)
                self.two_nn[int(trained)], self.se[int(trained)] = extents(two_nn), extents(se)[..., 1]
        if not self.n[True]:
            raise InputError(f"there is no trained network among those of {name!r}.")
        self.asked: list[str] = []
        self.inside = np.full(len(self.layers), -1)  # which of the sample's layers belongs to each
        if sample is not None:
            self._sample(sample)

    def _sample(self, sample: Record) -> None:
        self.asked, self.own = ([str(name) for name in sample[key]] for key in ("asked", "layer"))
        if unheard := [what for what in self.asked if what not in PROPERTIES]:
            there = ", ".join(PROPERTIES)
            raise InputError(f"units are asked about {there}; those of {self.name!r} about {unheard[0]!r}.")
        self.of, self.channel = sample["of"].astype("<u2"), sample["channel"].astype("<u2")
        self.rates, self.bits = sample["poz"].astype("<f4"), sample["bits"].astype(np.uint8)
        n = len(self.of)
        if self.rates.shape != (2, n) or self.bits.shape != (2, len(self.asked), n):
            raise InputError(
                f"units of {self.name!r} must have poz (2, {n}) and bits (2, {len(self.asked)}, {n}); got "
                f"{self.rates.shape} and {self.bits.shape}."
            )
        for place, layer in enumerate(self.own):
            steps = [step for step in self.layers if f"{layer}.".startswith(f"{step}.")]
            if steps:
                self.inside[self.layers.index(max(steps, key=len))] = place
        if (self.inside < 0).all():
            raise InputError(
                f"no layer of the units of {self.name!r} is in one of its layers: got {', '.join(self.own)} "
                f"and {', '.join(self.layers)}."
            )

    @property
    def first(self) -> int:
        """The first layer with units, or without any the first."""
        return int(np.argmax(self.inside >= 0))

    def last(self, layer: int) -> int:
        """The layer, or where there are fewer, the last."""
        return min(int(layer), len(self.layers) - 1)

    def known(self, what: str) -> str:
        """The property, or where it was not asked for, the first that was."""
        return what if what in self.asked or not self.asked else self.asked[0]

    def units(self, layer: int) -> NDArray[np.intp]:
        return np.flatnonzero(self.of == self.inside[layer])

    def poz_of(self, layer: int) -> NDArray[np.float64]:
        """``(2, n_units)``."""
        return self.rates[:, self.units(layer)].astype(np.float64)

    def bits_of(self, layer: int, what: str) -> NDArray[np.float64]:
        """``(2, n_units)``, NaN where it is not measured."""
        steps = self.bits[:, self.asked.index(what), self.units(layer)]
        return np.where(steps == _UNMEASURED, np.nan, steps / _STEPS)

    def here(self, layer: int, what: str) -> bool:
        return not self.nothing(layer, what)

    def nothing(self, layer: int, what: str) -> str:
        """Why no units are shown; empty where they are."""
        why = ""
        if not self.asked:
            why = "network"
        elif self.inside[layer] < 0:
            why = "layer"
        elif np.isnan(self.bits_of(layer, what)).any():
            why = "property"
        of = {"network": self.title, "layer": self.layers[layer], "what": PROPERTIES[what]}
        return _NOTHING[why].format(**of) if why else ""

    def packed(self) -> dict[str, Any]:
        """What travels in the page."""
        made: dict[str, Any] = {"name": self.name, "title": self.title, "layers": self.layers, "n": self.n}
        made |= {"points": self.points, "asked": self.asked, "inside": self.inside.tolist()}
        names = ("two_nn", "se", *(("of", "channel", "rates", "bits") if self.asked else ()))
        made |= {"own": self.own} if self.asked else {}
        return {**made, **{name: getattr(self, name).tobytes() for name in names}}


# --- words ------------------------------------------------------------------------------------------


def _words(shown: _Network, at: int, what: str) -> str:
    trained, untrained = ([_number(v) for v in shown.two_nn[state, at, :, 1]] for state in (1, 0))
    both = shown.n[0] > 0
    text = f"{shown.layers[at]} ({at + 1} of {len(shown.layers)}): {trained[0]} dimensions"
    text += f" trained, {untrained[0]} untrained" if both else ""
    text += f" ({shown.points[0]:,} images)"
    if len(shown.points) > 1:
        text += f"; with {shown.points[1]:,} images, {trained[1]}" + (f" and {untrained[1]}" if both else "")
    return f"{text}. {shown.nothing(at, what) or _of_units(shown, at, what)}"


def _of_units(shown: _Network, at: int, what: str) -> str:
    bits, poz = (np.median(values, axis=1) for values in (shown.bits_of(at, what), shown.poz_of(at)))
    own = shown.own[shown.inside[at]]
    inside = "" if own == shown.layers[at] else f" of {own}"
    rates = [f"{fixed(100 * p, 0)}\u00a0%" for p in poz]
    return (
        f"The median of {len(shown.units(at))} units{inside} knows {fixed(bits[1], 2)} bits about "
        f"{PROPERTIES[what]} trained, {fixed(bits[0], 2)} untrained; PoZ {rates[1]} against {rates[0]}."
    )


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else fixed(value, 1)


# --- the figure for pages without scripts -----------------------------------------------------------


def _still(shown: _Network, at: int, what: str, *, name: str, caption: str) -> HTML:
    panels = [_through(shown, at), _scale(shown, at)]
    if shown.here(at, what):
        panels.append(_scatter(shown, at, what))
    return frame.show(
        panels,
        name=name,
        alt=f"Dimension of the layers of {shown.title}, by number of images, and what single units know. "
        f"{_words(shown, at, what)}",
        caption=caption,
        numbers=_table(shown),
        legend={_NAMES[trained]: STATES[trained] for trained in STATES if shown.n[trained]},
    )


def _through(shown: _Network, at: int) -> Figure:
    figure, axes = plots.panel(2.3, 2.1, title="TwoNN by layer")
    x = np.arange(len(shown.layers))
    for trained, colour in STATES.items():
        low, middle, high = shown.two_nn[int(trained), :, 0].T
        ink = palette.COLOURS[colour]
        axes.fill_between(x, low, high, color=ink, alpha=0.15, linewidth=0)
        axes.plot(x, middle, color=ink, marker="o", markersize=2.6)
    axes.axvline(at, color=palette.INK, linewidth=0.8)
    axes.set_xticks([at], [shown.layers[at]])
    axes.set_ylim(bottom=0)
    return figure


def _scale(shown: _Network, at: int) -> Figure:
    figure, axes = plots.panel(2.3, 2.1, title=f"{shown.layers[at]}: TwoNN by images")
    for trained, colour in STATES.items():
        middle, se = shown.two_nn[int(trained), at, :, 1], shown.se[int(trained), at]
        if shown.n[trained]:
            axes.errorbar(
                shown.points,
                middle,
                yerr=se,
                color=palette.COLOURS[colour],
                marker="o",
                markersize=2.6,
                linewidth=1.2,
            )
    axes.set(xscale="log", xlabel="number of images")
    axes.set_xticks(shown.points, [f"{n}" for n in shown.points])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    return figure


def _scatter(shown: _Network, at: int, what: str) -> Figure:
    figure, axes = plots.panel(2.3, 2.1, title=f"{shown.layers[at]}: its units")
    bits, poz = shown.bits_of(at, what), shown.poz_of(at)
    for trained, colour in STATES.items():
        ink = palette.COLOURS[colour]
        face = ink if trained else "none"
        axes.scatter(
            poz[int(trained)], bits[int(trained)], s=12, edgecolor=ink, facecolor=face, linewidth=0.8
        )
    rates = np.linspace(0, 1, 101)
    axes.plot(rates, units.poz_bound(rates) + 1 - rates, color=palette.INK, linewidth=0.6)
    axes.set(xlim=(-0.02, 1.02), ylim=(0, 1.1 * max(0.1, bits.max())), xlabel="PoZ")
    axes.set_ylabel(f"bits about {PROPERTIES[what]}")
    plots.percent(axes, "x")
    return figure


def _table(shown: _Network) -> pd.DataFrame:
    """A line for each state, layer and number of images: what the lines are made of."""
    rows = [
        {"state": _NAMES[state], "layer": layer, "images": points}
        | dict(zip(("two_nn_low", "two_nn", "two_nn_high"), shown.two_nn[state, place, k], strict=True))
        | {"se": shown.se[state, place, k]}
        for state in (1, 0)
        if shown.n[state]
        for place, layer in enumerate(shown.layers)
        for k, points in enumerate(shown.points)
    ]
    return pd.DataFrame(rows)
