"""Widgets that live in JupyterLab and, without a kernel, in a static page.

A widget is an anywidget: in JupyterLab it sits beside stock ipywidgets, is driven by ``jslink`` and
observed from Python. In the book, ``static/host.js`` runs the same module on the state that the
notebook stored. Where no script runs, a figure with the same message stands in its place.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython.display import HTML
from ipywidgets.embed import dependency_state
from numpy.typing import ArrayLike, NDArray

from rarefire import rdm, store
from rarefire.errors import InputError, unknown
from rarefire.page import palette
from rarefire.page.scenes import Checked, Portrait, Scene, portrayed
from rarefire.page.scenes import packed as pack
from rarefire.poz import RARE

__all__ = [
    "FeatureSwitch",
    "PageWidget",
    "PozHistogram",
    "document",
    "extents",
    "figure",
    "fixed",
    "page_of",
    "save",
    "script",
]

_FOLDER = Path(__file__).parent
_FIGURE = '<figure class="rf-figure"'


def script(*names: str) -> str:
    """The module of one widget: what all of them share, and its own."""
    return _joined("js/common.js", *(f"js/{name}.js" for name in names))


def _joined(*files: str) -> str:
    return "\n".join((_FOLDER / file).read_text(encoding="utf-8") for file in files)


def extents(values: ArrayLike) -> NDArray[np.float32]:
    """What a line with a shade is made of: lowest, median and highest over instances.

    Parameters
    ----------
    values
        ``(I, …)``, at least one instance; NaN where undefined.

    Returns
    -------
    ndarray
        ``(…, 3)``, of what is defined; NaN where nothing is. As it travels in a page.
    """
    sort = np.sort(np.asarray(values, dtype=np.float64), axis=0)  # NaN last
    n = np.isfinite(sort).sum(axis=0)

    def at(place: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.asarray(np.take_along_axis(sort, place[None], axis=0)[0])

    last = np.maximum(n - 1, 0)
    middle = (at(last // 2) + at((last + 1) // 2)) / 2
    return np.stack([at(0 * last), middle, at(last)], axis=-1).astype("<f4")


def fixed(value: float, digits: int) -> str:
    """A number in words, as JavaScript's ``toFixed`` writes it: it rounds halves up."""
    return str(Decimal(float(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


class PageWidget(anywidget.AnyWidget):
    """A widget with a caption, and a figure for pages without scripts.

    Parameters
    ----------
    name
        Short and unique in the notebook.
    caption
        The finding and the source of the numbers, as for :func:`rarefire.page.frame.show`.
    fallback
        A figure from :func:`rarefire.page.frame.show` with the same name and caption: the widget takes
        the place of its drawing.
    """

    _css = _joined("static/palette.css", "js/widgets.css")

    #: In rem, on a wide and on a narrow page, how high it is at least with its caption: a page keeps that
    #: place for it, so that nothing moves when it wakes up.
    _height = (0, 0)

    name = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)

    def __init__(self, *, name: str, caption: str, fallback: HTML, **state: Any) -> None:
        for key in state:
            if not self.has_trait(key):
                raise unknown("trait", key, [t for t in self.trait_names(sync=True) if t[0] != "_"])
        self._fallback = str(fallback.data)
        if not self._fallback.startswith(_FIGURE):
            raise InputError("fallback must be a figure from rarefire.page.frame.show.")
        super().__init__(name=name, caption=caption, **state)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        wide, narrow = self._height
        place = f' style="--rf-wide:{wide}rem;--rf-narrow:{narrow}rem"' if wide else ""
        marked = f'<figure data-widget="{self.model_id}"{place}{_FIGURE[7:]}'
        return {**data, "text/html": self._fallback.replace(_FIGURE, marked, 1)}, metadata


def save(path: str | Path, *shown: PageWidget, title: str = "Rarely Firing") -> None:
    """Write widgets as one file: a page that is alive from disk, without a kernel and without a network.

    Parameters
    ----------
    path
        Ends in ``.html``.
    *shown
        In the order of the page; ``jslink`` between them holds there too.
    title
        Of the page.
    """
    path = Path(path)
    if path.suffix != ".html" or not shown:
        raise InputError(
            f"a page is an .html file with at least one widget; got {path.name!r}, {len(shown)}."
        )
    figures = "".join(figure(widget) for widget in shown)
    with store.atomic_write(path) as file:
        file.write(document(figures, shown, title=title))


def figure(widget: PageWidget) -> str:
    """A widget's place in a page: the figure that it takes the place of."""
    if not isinstance(widget, PageWidget):
        raise InputError(f"a page takes widgets of this package; got {type(widget).__name__}.")
    return str(widget._repr_mimebundle_()[0]["text/html"])


def document(body: str, shown: Sequence[PageWidget], *, title: str, styles: str = "") -> bytes:
    """A page that needs nothing beside it: its widgets are alive from disk, without a kernel.

    Parameters
    ----------
    body
        HTML, with the :func:`figure` of each widget.
    shown
        The widgets, whose names differ; ``jslink`` between them holds there too.
    title
        Of the page.
    styles
        More CSS.

    Returns
    -------
    bytes
        The same for the same content: what a process calls its widgets is not in it.
    """
    names = [widget.name for widget in shown]
    if len(set(names)) < len(names):
        raise InputError(f"widgets on one page need names of their own (name=); got {', '.join(names)}.")
    # Sorted, as a notebook keeps it: what is in order must not hang on the order of keys.
    kept = {"state": dependency_state(shown, drop_defaults=False)}
    for model in kept["state"].values():
        model["state"].pop("_css", None)  # the page has it
    state = json.dumps(kept, allow_nan=False)
    for place, key in enumerate(kept["state"]):
        state, body = (text.replace(key, f"model-{place}") for text in (state, body))
    state = json.dumps(json.loads(state), sort_keys=True).replace("<", "\\u003c")
    page = page_of(heading=html.escape(title), figures=body, state=state, styles=styles)
    return page.encode(errors="replace")  # names of files may be no text


def page_of(*, heading: str, figures: str, state: str, styles: str = "") -> str:
    """A page of its own around figures with widgets; :func:`document` makes it.

    Parameters
    ----------
    heading, figures
        HTML.
    state
        Of the widgets, as JSON without ``<``.
    styles
        More CSS.
    """
    style = _joined("static/palette.css", "static/rarefire.css", "js/widgets.css", "js/page.css") + styles
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title><style>{style}</style><script>{_joined('js/page.js')}</script>"
        f'<main class="bd-content"><h1>{heading}</h1>{figures}</main>'
        f'<script type="application/vnd.jupyter.widget-state+json">{state}</script>'
        f"<script>{_joined('static/host.js')}</script></html>\n"
    )


class PozHistogram(PageWidget):
    """A threshold on the histogram of PoZ that marks the features above it.

    Parameters
    ----------
    sets
        By name, ``(colour, poz, seeds)``: a name in :data:`rarefire.page.palette.COLOURS`; PoZ in [0, 1],
        ``(n_networks, n_features)``; and the seeds of the networks.
    scenes
        What networks say of some images: by name of the set and by seed, a
        :class:`~rarefire.page.scenes.Scene` with the same features, whose PoZ is that of the set. A feature
        of theirs can be looked at. By default none.
    name, caption, fallback
        As for :class:`PageWidget`.
    **state
        Any of the traits.

    Attributes
    ----------
    set, network
        Indices of the image set and of the network shown.
    threshold
        Features with a greater PoZ are marked, in [0, 1].
    feature
        Index of the feature that is looked at; None for the most active one above the threshold.
    """

    _height = (33, 31)
    _esm = script("geometry", "feature", "threshold")

    sets = traitlets.List(traitlets.Dict()).tag(sync=True)
    scenes = traitlets.List(traitlets.Dict()).tag(sync=True)
    sprites = traitlets.List(traitlets.Dict()).tag(sync=True)
    set = traitlets.Int(0).tag(sync=True)
    network = traitlets.Int(0).tag(sync=True)
    threshold = traitlets.Float(RARE, min=0, max=1).tag(sync=True)
    feature = traitlets.Int(None, allow_none=True).tag(sync=True)

    def __init__(
        self,
        sets: Mapping[str, tuple[str, ArrayLike, Sequence[int]]],
        *,
        scenes: Mapping[str, Mapping[int, Scene]] | None = None,
        **state: Any,
    ) -> None:
        packed: list[dict[str, Any]] = []
        known = scenes or {}
        if absent := [name for name in known if name not in sets]:
            raise unknown("image set", absent[0], list(sets))
        self._scenes: list[Checked] = []
        for name, (colour, poz, seeds) in sets.items():
            rates = np.atleast_2d(np.asarray(poz, dtype=np.float64))
            if rates.ndim != 2 or not rates.size or not ((rates >= 0) & (rates <= 1)).all():
                raise InputError(
                    f"poz of {name!r} must be (n_networks, n_features) in [0, 1]; got {np.shape(poz)}."
                )
            if len(seeds) != len(rates):
                raise InputError(
                    f"seeds of {name!r} must be {len(rates)}, one per network; got {len(seeds)}."
                )
            own = known.get(name, {})
            if absent_seeds := [seed for seed in own if seed not in seeds]:
                there = [str(seed) for seed in seeds]
                raise unknown(f"network of {name!r} with seed", str(absent_seeds[0]), there)
            places = []
            for row, seed in zip(rates, seeds, strict=True):
                places.append(len(self._scenes) if seed in own else -1)
                if seed in own:
                    self._scenes.append(_scene(own[seed], row, name))
            packed.append(
                {
                    "name": name,
                    "scenes": places,
                    "colour": palette.page_colour(colour),
                    "p": rates.shape[1],
                    "seeds": [int(seed) for seed in seeds],
                    "poz": rates.astype("<f4").tobytes(),
                }
            )
        if not packed:
            raise InputError("a histogram needs at least one image set.")
        shown, sprites = pack(self._scenes)
        super().__init__(sets=packed, scenes=shown, sprites=sprites, **state)

    @traitlets.validate("set", "network", "feature")
    def _in_range(self, proposal: Any) -> Any:
        trait, value = proposal["trait"].name, proposal["value"]
        sizes = {"set": [len(self.sets)], "network": [len(s["seeds"]) for s in self.sets]}
        most = max(sizes.get(trait) or [s["p"] for s in self.sets])
        if value is not None and not 0 <= value < most:
            raise traitlets.TraitError(f"{trait} is an index from 0 to {most - 1}; got {value}.")
        return value

    def removed(self) -> NDArray[np.bool_]:
        """``(n_features,)``: which features of the network shown lie above the threshold."""
        shown = self.sets[self.set]
        rates = np.frombuffer(shown["poz"], dtype="<f4").reshape(-1, shown["p"])
        return np.asarray(rates[min(self.network, len(rates) - 1)] > self.threshold + 1e-6)

    def portrait(self) -> Portrait:
        """The feature that is looked at: which images it fires for, and what silencing it alone does.

        Raises
        ------
        InputError
            Where no scene of the network shown was given.
        """
        shown = self.sets[self.set]
        network = min(self.network, len(shown["seeds"]) - 1)
        if (place := shown["scenes"][network]) < 0:
            raise InputError(
                f"there is no scene of {shown['name']!r}, seed {shown['seeds'][network]}: give one as scenes="
                "{name: {seed: Scene(…)}}."
            )
        scene, removed = self._scenes[place], self.removed()
        order = scene.orders["low"]
        above = order[removed[order]]
        chosen = self.feature if self.feature is not None and self.feature < shown["p"] else None
        feature = chosen if chosen is not None else (above[0] if len(above) else order[-1])
        return portrayed(scene, int(feature), metric="correlation", firing=False)


def _scene(scene: Scene, rates: NDArray[np.float64], name: str) -> Checked:
    """A scene of a network whose PoZ is known."""
    given = Checked(replace(scene, poz=rates) if scene.poz is None else scene, 0)
    if given.poz.shape != rates.shape or not np.allclose(given.poz, rates, rtol=0, atol=1e-6):
        raise InputError(
            f"a scene of {name!r} has another PoZ than the set: {given.poz.shape} and {rates.shape}, of the "
            "same network and images. Leave out its poz to take the set's."
        )
    return given


class FeatureSwitch(PageWidget):
    """A few images and features, small enough to read; each feature can be switched on and off.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``.
    names
        Of the images.
    name, caption, fallback
        As for :class:`PageWidget`.
    **state
        The trait `on`.

    Attributes
    ----------
    on
        For each feature, whether it counts.
    """

    _esm = script("switch")
    _height = (22, 28)

    vectors = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    on = traitlets.List(traitlets.Bool()).tag(sync=True)

    def __init__(self, embedding: ArrayLike, *, names: Sequence[str], **state: Any) -> None:
        features = rdm.check_embedding(embedding)
        if len(names) != len(features):
            raise InputError(f"names must be {len(features)}, one per image; got {len(names)}.")
        super().__init__(
            **{"vectors": features.tolist(), "names": list(names), "on": [True] * features.shape[1], **state}
        )

    @traitlets.validate("on")
    def _one_each(self, proposal: Any) -> Any:
        if len(proposal["value"]) != len(self.vectors[0]):
            expected = f"on must be {len(self.vectors[0])} truth values, one per feature"
            raise traitlets.TraitError(f"{expected}; got {len(proposal['value'])}.")
        return proposal["value"]

    def similarities(self, metric: rdm.Metric = "correlation") -> NDArray[np.float64]:
        """Condensed ``(n(n-1)/2,)``, in the features that are on; NaN where undefined."""
        on = np.asarray(self.on)
        kept = np.asarray(self.vectors)[:, on] if on.any() else np.zeros((len(self.vectors), 1))
        return np.asarray(rdm.similarities(kept, metric=metric)[np.triu_indices(len(kept), k=1)])
