"""Every two layers of a network beside each other: a map in which a pair is chosen, and what is behind it.

Everything was computed beforehand by :mod:`rarefire.transport`; what travels in the page are the bracket of
each pair, whose image goes where, the layers' distances in 256 steps, and the best blocks of every number.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from rarefire import rdm, subnetworks
from rarefire.errors import InputError
from rarefire.page import frame, palette, plots
from rarefire.page.widgets import PageWidget, fixed, script
from rarefire.records.subnetworks import BOUNDS, Shown
from rarefire.rounding import first_largest
from rarefire.subnetworks import Partition
from rarefire.transport import Bracket

__all__ = ["QUANTITIES", "PairMap"]

#: What the map can be of, attributes of :class:`rarefire.transport.Bracket` -> what the page calls it.
QUANTITIES = {
    "relative": "cost relative to chance",
    "distance": "distance (½GW)",
    "gap": "gain by moving images",
}
_SAYS = {
    "relative": "Cost of the best match, as a share of what a random one costs: 0 % is the same geometry.",
    "distance": "Half the root of the best match’s cost; 1 is the mean distance between two images.",
    "gap": "How much less the best match costs than leaving every image in its place (in GW²).",
}
_NAMED = 6  # blocks whose layers are named in words

_Floats = NDArray[np.float64]


class PairMap(PageWidget):
    """Gromov–Wasserstein between every two layers of networks.

    Parameters
    ----------
    shown
        By name of a network.
    titles
        Of the networks; by default :data:`rarefire.page.palette.LABELS`.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    **state
        Any of the traits below.

    Attributes
    ----------
    network
        A key of `shown`.
    first, second
        Indices of two different layers; where the network has fewer, its last ones. At first its first and
        its last. Which is named first does not count.
    n_blocks
        Contiguous blocks into which the layers are cut, from 1 to their number; at first the best number.
    quantity
        Of :data:`QUANTITIES`, what the map shows. Blocks are those of the distance, whatever is shown.

    Raises
    ------
    InputError
        For no network, and for a map without blocks, as :func:`rarefire.subnetworks.blocks`.
    traitlets.TraitError
        For a name that does not exist, an index out of range or two equal layers, here or later.
    """

    _esm = script("pairs")
    _height = (65, 117)

    networks = traitlets.List(traitlets.Dict()).tag(sync=True)
    words_of = traitlets.Dict().tag(sync=True)
    colours = traitlets.Bytes().tag(sync=True)
    network = traitlets.Unicode().tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    second = traitlets.Int(1).tag(sync=True)
    n_blocks = traitlets.Int(1).tag(sync=True)
    quantity = traitlets.Unicode("relative").tag(sync=True)

    def __init__(
        self,
        shown: Mapping[str, Shown],
        *,
        titles: Mapping[str, str] = palette.LABELS,
        name: str = "pairs",
        caption: str = "How far apart the geometries of every two layers are.",
        **state: Any,
    ) -> None:
        if not shown:
            raise InputError("a map of pairs needs at least one network.")
        self._networks = {key: _Network(key, titles.get(key, key), each) for key, each in shown.items()}
        self._check("network", state.setdefault("network", next(iter(shown))))
        own = self._networks[state["network"]]
        last = len(own.layers) - 1
        state.setdefault("first", 0 if state.get("second") != 0 else last)
        state.setdefault("second", last if state["first"] != last else 0)
        state.setdefault("n_blocks", own.best)
        state.setdefault("quantity", "relative")
        for trait in ("first", "second", "n_blocks", "quantity"):
            self._check(trait, state[trait])
        self._differ(state["first"], state["second"])
        pair = own.pair(state["first"], state["second"])
        which = (*pair, own.cut(state["n_blocks"]), state["quantity"])
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(own, *which, name=name, caption=caption),
            networks=[each.packed() for each in self._networks.values()],
            # A notebook sorts the keys of what it keeps.
            words_of={"named": _NAMED, "order": list(QUANTITIES), "quantities": QUANTITIES, "says": _SAYS},
            colours=palette.shades(),
            **state,
        )

    @traitlets.validate("network", "first", "second", "n_blocks", "quantity")
    def _in_range(self, proposal: Any) -> Any:
        trait, value = proposal["trait"].name, proposal["value"]
        self._check(trait, value)
        if trait in ("first", "second"):
            self._differ(value, self.second if trait == "first" else self.first)
        return value

    def _check(self, trait: str, value: Any) -> None:
        if trait in ("network", "quantity"):
            there = list(self._networks if trait == "network" else QUANTITIES)
            if value not in there:
                raise traitlets.TraitError(f"{trait} is one of {', '.join(there)}; got {value!r}.")
            return
        n = max(len(each.layers) for each in self._networks.values())
        low, high, what = (1, n, "a number") if trait == "n_blocks" else (0, n - 1, "an index")
        if not isinstance(value, int | np.integer) or not low <= value <= high:
            raise traitlets.TraitError(f"{trait} is {what} from {low} to {high}; got {value}.")

    def _differ(self, first: int, second: int) -> None:
        if first == second:
            raise traitlets.TraitError(
                f"first and second are two different layers; both are {first}. To change both at once: "
                "with widget.hold_trait_notifications()."
            )

    def _shown(self) -> tuple[_Network, int, int]:
        """The network and the pair, the earlier layer first."""
        own = self._networks[self.network]
        return own, *own.pair(self.first, self.second)

    @property
    def blocks(self) -> Partition:
        """The best partition into `n_blocks`, on the map of distances; of fewer layers, into all."""
        own = self._networks[self.network]
        return own.partitions[own.cut(self.n_blocks) - 1]

    @property
    def bracket(self) -> dict[str, float]:
        """Of the pair: bounds and what was found, as in :class:`rarefire.transport.Bracket`."""
        own, first, second = self._shown()
        return own.numbers(own.place(first, second))

    @property
    def stays(self) -> tuple[float, float]:
        """Share of the images that go to themselves, and share that goes to their class."""
        own, first, second = self._shown()
        return own.stays(own.place(first, second))

    @property
    def words(self) -> str:
        """What the page says of the state: of the pair, and of the blocks."""
        own, first, second = self._shown()
        return f"{_of_pair(own, first, second)} {_of_blocks(own, own.cut(self.n_blocks))}"


class _Network:
    """What is shown of one network, as it travels in the page, and its best blocks of every number."""

    def __init__(self, name: str, title: str, shown: Shown) -> None:
        self.name, self.title, self.layers, self.groups = name, title, list(shown.layer), list(shown.groups)
        self.space, self.partner = shown.space, shown.partner
        self.group = shown.group.astype("<u2")
        self.most = shown.most.astype("<f4")
        self.bounds = np.stack([getattr(shown, name) for name in BOUNDS]).astype("<f4")
        distances, n = self.values("distance"), len(self.layers)
        try:
            self.partitions = [subnetworks.blocks(distances, k) for k in range(1, n + 1)]
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        self.best = 1 + first_largest([p.r2 for p in self.partitions])

    def pair(self, first: int, second: int) -> tuple[int, int]:
        """The earlier layer and the later one; where there are fewer layers, the last."""
        last = len(self.layers) - 1
        low, high = sorted((int(first), int(second)))
        return min(low, last - 1), min(high, last)

    def cut(self, n_blocks: int) -> int:
        return min(int(n_blocks), len(self.layers))

    def place(self, first: int, second: int) -> int:
        """Of a pair in condensed order."""
        return first * len(self.layers) - first * (first + 1) // 2 + second - first - 1

    def numbers(self, place: int) -> dict[str, float]:
        given = dict(zip(BOUNDS, map(float, self.bounds[:, place]), strict=True))
        one = Bracket(**given, start="", starts={}, coupling=np.empty((0, 0)))
        return given | {name: float(getattr(one, name)) for name in QUANTITIES}

    def values(self, quantity: str) -> _Floats:
        """``(P,)``."""
        return np.array([self.numbers(place)[quantity] for place in range(self.bounds.shape[1])])

    def stays(self, place: int) -> tuple[float, float]:
        to = self.partner[place]
        shares = (to == np.arange(len(to))).mean(), (self.group[to] == self.group).mean()
        return float(shares[0]), float(shares[1])

    def packed(self) -> dict[str, Any]:
        """What travels in the page."""
        return {
            "name": self.name,
            "title": self.title,
            "layers": self.layers,
            "groups": self.groups,
            "cuts": [list(p.cuts) for p in self.partitions],
            "r2": [p.r2 for p in self.partitions],
            "best": self.best,
            **{
                name: getattr(self, name).tobytes()
                for name in ("space", "most", "bounds", "partner", "group")
            },
        }


# --- words ------------------------------------------------------------------------------------------


def _of_pair(own: _Network, first: int, second: int) -> str:
    place = own.place(first, second)
    of, (same, kin) = own.numbers(place), own.stays(place)
    least = fixed(np.sqrt(of["lower"]) / 2, 3)
    text = (
        f"{own.layers[first]} and {own.layers[second]}: distance {fixed(of['distance'], 3)}, at least {least}"
    )
    if of["chance"] <= 0:
        return f"{text}; all images are equally far apart in both."
    cost, in_place = (_percent(of[name] / of["chance"]) for name in ("upper", "identity"))
    text += f"; the best match that was found costs {cost} of a random one. "
    if same == 1 and of["gap"] <= 0:
        return f"{text}Every image goes to itself: no cheaper match was found."
    return (
        f"{text}{_percent(same)} of the images go to themselves, {_percent(kin)} to their class; leaving all "
        f"in place would cost {in_place}."
    )


def _of_blocks(own: _Network, n_blocks: int) -> str:
    found = own.partitions[n_blocks - 1]
    ends = [0, *found.cuts, len(own.layers)]
    runs = " | ".join(_run(own.layers[a:b]) for a, b in itertools.pairwise(ends))
    text = f"{n_blocks} group{'s' if n_blocks > 1 else ''}{f' ({runs})' if n_blocks <= _NAMED else ''}: "
    text += f"R² {fixed(found.r2, 3)}, {_percent(found.r2)} of how distances vary; "
    if n_blocks == own.best:
        return f"{text}no number of groups does better."
    return f"{text}{own.best} do{'es' if own.best == 1 else ''} best."


def _run(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"{layers[0]}–{layers[-1]}"


def _percent(share: float) -> str:
    return f"{fixed(100 * share, 1 if 0 < share < 0.1 else 0)}\u00a0%"


# --- the figure for pages without scripts -----------------------------------------------------------


def _still(
    own: _Network, first: int, second: int, n_blocks: int, quantity: str, *, name: str, caption: str
) -> HTML:
    words = f"{_of_pair(own, first, second)} {_of_blocks(own, n_blocks)}"
    return frame.show(
        [_map(own, first, second, n_blocks, quantity), _coupling(own, first, second)],
        name=name,
        alt=f"Map of every two layers of {own.title}, {QUANTITIES[quantity]}, with groups outlined; and "
        f"which image goes where. {words}",
        caption=caption,
        numbers=_table(own),
    )


def _map(own: _Network, first: int, second: int, n_blocks: int, quantity: str) -> Figure:
    figure, axes = plots.panel(3.3, 3.1, title=QUANTITIES[quantity])
    values = rdm.square(own.values(quantity))
    image = axes.imshow(values, cmap=palette.COLOUR_MAP, interpolation="none", vmin=0)
    ends = [0, *own.partitions[n_blocks - 1].cuts, len(own.layers)]
    for a, b in itertools.pairwise(ends):
        for colour, width in (("black", 3), ("white", 1.4)):
            axes.add_patch(Rectangle((a - 0.5, a - 0.5), b - a, b - a, fill=False, ec=colour, lw=width))
    for x, y in ((second, first), (first, second)):
        axes.plot(x, y, marker="o", markersize=4, color="white", markeredgecolor="black", markeredgewidth=0.8)
    ticks = np.arange(len(own.layers))
    axes.set_xticks(ticks, own.layers, rotation=90, fontsize=6.5)
    axes.set_yticks(ticks, own.layers, fontsize=6.5)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, length=2)
    return figure


def _coupling(own: _Network, first: int, second: int) -> Figure:
    figure, axes = plots.panel(2.9, 2.9, title="which image goes where")
    to, n = own.partner[own.place(first, second)], len(own.group)
    here = np.arange(n)
    for which, colour in ((to == here, "low"), (to != here, "high")):
        face = palette.COLOURS[colour] if colour == "low" else "none"
        axes.scatter(
            to[which], here[which], s=7, facecolor=face, edgecolor=palette.COLOURS[colour], linewidth=0.8
        )
    for edge in np.flatnonzero(np.diff(own.group)) + 0.5:
        axes.axhline(edge, color=palette.INK, linewidth=0.2, alpha=0.5)
        axes.axvline(edge, color=palette.INK, linewidth=0.2, alpha=0.5)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel=f"to: {own.layers[second]}", aspect="equal")
    axes.set_ylabel(f"from: {own.layers[first]}")
    axes.set_xticks([])
    middles = [np.flatnonzero(own.group == g).mean() for g in np.unique(own.group)]
    axes.set_yticks(middles, [own.groups[g] for g in np.unique(own.group)], fontsize=6.5)
    axes.tick_params(length=0)
    return figure


def _table(own: _Network) -> pd.DataFrame:
    """A line for each pair."""
    rows = []
    for first, layer in enumerate(own.layers):
        for second in range(first + 1, len(own.layers)):
            place = own.place(first, second)
            same, kin = own.stays(place)
            row = {"first": layer, "second": own.layers[second], **own.numbers(place)}
            rows.append(row | {"to_itself": same, "to_its_class": kin})
    return pd.DataFrame(rows)
