"""The ghost reader: choose a category, how many of its images define its ghosts, and a component; see images.

Everything the sliders can reach was computed beforehand by :func:`rarefire.records.ghosts.read`, so the page
shows what Python computed and needs no kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from numpy.typing import NDArray

from rarefire import records, stimuli
from rarefire.errors import InputError
from rarefire.page import frame
from rarefire.page.widgets import PageWidget, script
from rarefire.records.ghosts import Reading
from rarefire.stimuli import Gallery, Stimuli

__all__ = ["GhostReader", "Shelf", "classes", "sheet", "sheet_numbers", "sheet_rows", "shelf"]

_MOST_IMAGES = 65_535
_READ = ("m", "ghosts", "dead", "explained", "control", "top")


@dataclass(frozen=True, eq=False)
class Shelf:
    """Categories read against one gallery by one network.

    Attributes
    ----------
    stimuli, network
        Short names of the images and of the network, for the menu.
    readings
        By category, the arrays of :func:`rarefire.records.ghosts.read`: ``m, ghosts (S,)``, ``explained,
        control (S, K)``, ``top (S, K, T)`` and ``dead``.
    n_features
        Features in all.
    names
        Of the gallery's images, by row.
    examples
        By category, up to eight of its images, ``(n, c, h, w)`` in [0, 1]; or None.
    pictures
        Row of the gallery -> ``(c, h, w)`` in [0, 1], for all rows that occur in ``top``; or None, and the
        names stand in their places.
    """

    stimuli: str
    network: str
    readings: Mapping[str, Mapping[str, NDArray[Any]]]
    n_features: int
    names: Sequence[str]
    examples: Mapping[str, NDArray[Any]] | None = None
    pictures: Mapping[int, NDArray[Any]] | None = None


class GhostReader(PageWidget):
    """What the ghosts of a category respond to, in images.

    Parameters
    ----------
    shelves
        What can be chosen; the first one is shown first.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    size
        Of a picture, in pixels.
    n_components
        How many can be chosen.
    **state
        Any of the traits below.

    Attributes
    ----------
    shelf, category, component
        Indices of what is shown.
    step
        Index of the number of images that define the ghosts; where a category has fewer steps, its last.
        By default all images.

    Raises
    ------
    InputError
        For readings without a category, or whose rows have no name or picture.
    traitlets.TraitError
        For an index out of range, here or later.
    """

    _esm = script("reader")
    _height = (38, 58)

    shelves = traitlets.List(traitlets.Dict()).tag(sync=True)
    shelf = traitlets.Int(0).tag(sync=True)
    category = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    component = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        shelves: Shelf | Sequence[Shelf],
        *,
        name: str = "reader",
        caption: str = "What the ghosts of a category respond to.",
        size: int = 64,
        n_components: int = 6,
        **state: Any,
    ) -> None:
        given = [shelves] if isinstance(shelves, Shelf) else list(shelves)
        if not given or not all(shelf.readings for shelf in given):
            raise InputError("a reader needs at least one shelf with at least one category.")
        self._shelves = given
        self._n = n_components
        packed = [_packed(shelf, size, n_components) for shelf in given]
        last = max(len(category["m"]) for shelf in packed for category in shelf["categories"]) - 1
        state = {"step": last, **state}
        for trait in ("shelf", "category", "step"):
            self._check(trait, state.get(trait, 0))
        shown = given[state.get("shelf", 0)]
        which = min(state.get("category", 0), len(shown.readings) - 1)
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(shown, list(shown.readings)[which], state["step"], name, caption),
            shelves=packed,
            **state,
        )

    @traitlets.validate("shelf", "category", "step", "component")
    def _in_range(self, proposal: Any) -> Any:
        return self._check(proposal["trait"].name, proposal["value"])

    def _check(self, trait: str, value: Any) -> Any:
        categories = [c for shelf in self._shelves for c in shelf.readings.values()]
        most = {
            "shelf": len(self._shelves),
            "category": max(len(shelf.readings) for shelf in self._shelves),
            "step": max(len(c["m"]) for c in categories),
            "component": self._n,
        }[trait]
        if not isinstance(value, int | np.integer) or not 0 <= value < most:
            raise traitlets.TraitError(f"{trait} is an index from 0 to {most - 1}; got {value}.")
        return value

    @property
    def m(self) -> int:
        """Number of images that define the ghosts shown."""
        reading, step = self._shown()
        return int(reading["m"][step])

    @property
    def rows(self) -> NDArray[np.intp]:
        """Rows of the gallery that score highest on the component shown; empty where there is none."""
        reading, step = self._shown()
        there = np.isfinite(reading["explained"][step][: self._n]).sum()
        top = reading["top"][step, min(self.component, max(0, int(there) - 1))]
        return np.asarray(top[top >= 0], dtype=np.intp)

    def _shown(self) -> tuple[Mapping[str, NDArray[Any]], int]:
        readings = list(self._shelves[self.shelf].readings.values())
        reading = readings[min(self.category, len(readings) - 1)]
        return reading, min(self.step, len(reading["m"]) - 1)


def _packed(shelf: Shelf, size: int, n_components: int) -> dict[str, Any]:
    """What travels in the page: tables, and each picture once."""
    if len(shelf.names) > _MOST_IMAGES:
        raise InputError(f"a gallery of at most {_MOST_IMAGES:,} images travels; got {len(shelf.names):,}.")
    tops = {c: np.asarray(r["top"])[:, :n_components] for c, r in shelf.readings.items()}
    rows = np.unique(np.concatenate([top[top >= 0] for top in tops.values()]))
    if len(rows) and rows[-1] >= len(shelf.names):
        raise InputError(f"the readings name image {rows[-1]}; the gallery has {len(shelf.names)} names.")
    if shelf.pictures is not None and (absent := [row for row in rows.tolist() if row not in shelf.pictures]):
        raise InputError(f"there is no picture of image {absent[0]} ({len(absent)} are missing).")
    place = np.full(max(len(shelf.names), 1), _MOST_IMAGES, dtype="<u2")
    place[rows] = np.arange(len(rows))
    categories: list[dict[str, Any]] = []
    own: list[NDArray[Any]] = []
    for category, reading in shelf.readings.items():
        top = tops[category]
        examples = (shelf.examples or {}).get(category)
        categories.append(
            {
                "name": category,
                "m": [int(m) for m in reading["m"]],
                "ghosts": [int(g) for g in reading["ghosts"]],
                "dead": int(reading["dead"]),
                "shape": list(top.shape),
                "top": np.where(top >= 0, place[top], _MOST_IMAGES).astype("<u2").tobytes(),
                "explained": np.asarray(reading["explained"])[:, :n_components].astype("<f4").tobytes(),
                "control": np.asarray(reading["control"])[:, :n_components].astype("<f4").tobytes(),
                "own": [] if examples is None else list(range(len(own), len(own) + len(examples))),
            }
        )
        own += [] if examples is None else list(examples)
    return {
        "stimuli": shelf.stimuli,
        "network": shelf.network,
        "p": shelf.n_features,
        "names": [str(shelf.names[row]) for row in rows],
        "categories": categories,
        "pictures": _sheet([shelf.pictures[int(row)] for row in rows] if shelf.pictures else [], size),
        "examples": _sheet(own, size),
    }


def _sheet(images: Sequence[NDArray[Any]], size: int) -> dict[str, Any]:
    if not images:
        return {}
    sheet = frame.sprite(np.stack(images), largest=size, quality=72)
    return {**sheet, "rows": -(-len(images) // sheet["columns"])}


def shelf(
    found: Sequence[Reading],
    *,
    gallery: Gallery | None = None,
    judged: Stimuli | None = None,
    title: str = "photographs",
    examples: Literal["first", "typical"] = "first",
) -> Shelf:
    """A shelf of recorded readings, with pictures as far as these are on this machine.

    Parameters
    ----------
    found
        Of one network and gallery.
    gallery
        The same pictures, by their names; others are left out.
    judged
        The photographs that the categories are of.
    title
        For the menu.
    examples
        Of the category's images: the first that are looked at, or those nearest to its mean.
    """
    if not found:
        raise InputError("there are no readings to put on the shelf.")
    names = [str(name) for name in found[0]["names"]]
    same = gallery is not None and list(gallery.names) == names
    pictures, own = None, None
    if gallery is not None and same:
        rows = np.unique(np.concatenate([r["top"][r["top"] >= 0] for r in found]))
        pictures = dict(zip(rows.tolist(), gallery[rows.tolist()], strict=True))
        if judged is not None:
            own = {
                r.category: gallery[r[examples]] if r.from_gallery else judged.images[r[examples]]
                for r in found
            }
    readings = {r.category: {name: r[name] for name in _READ} for r in found}
    plain = [_plain(name) for name in names]
    return Shelf(title, found[0].network, readings, found[0].n_features, plain, own, pictures)


def classes(
    embedding: NDArray[np.floating], images: Stimuli, *, title: str, network: str, seed: int = 0
) -> Shelf:
    """A shelf of the classes of an image set: half of the images define, the other half is the gallery.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU, of images that the network was not trained on.
    images
        The same, with labels.
    title, network
        For the menus.
    seed
        Of the order in which a class's images are looked at, and of the random features of the control.
    """
    half = stimuli.half_mask(images.labels)
    first, own, shown = embedding[half], images.labels[half], images.subset(~half)
    rng = np.random.default_rng(seed)
    read, examples = {}, {}
    for label, name in enumerate(images.class_names):
        rows = rng.permutation(np.flatnonzero(own == label))
        if not len(rows):
            continue
        at = range(1, len(rows) + 1)
        read[name] = records.ghosts.read(first[rows], embedding[~half], at=at, seed=seed)
        examples[name] = images.images[half][rows[: records.ghosts.TOP]]
    names = [images.class_names[label] for label in shown.labels]
    return Shelf(title, network, read, embedding.shape[1], names, examples, dict(enumerate(shown.images)))


def _plain(name: str) -> str:
    """An ImageNet class without its number: "n01440764_tench" is a tench."""
    return re.sub(r"^n\d{8}_", "", name).replace("_", " ")


def sheet_rows(
    shelf: Shelf, category: str, *, step: int = -1, n_components: int = 3
) -> dict[str, tuple[NDArray[Any] | None, Sequence[str]]]:
    """Rows for :func:`rarefire.page.frame.contact_sheet`: the category, then its ghosts' first components.

    Parameters
    ----------
    shelf, category
        What to show.
    step
        Index of the number of images that define the ghosts.
    n_components
        How many rows of them; fewer where there are fewer.
    """
    reading = shelf.readings[category]
    step = min(step, len(reading["m"]) - 1)
    rows: dict[str, tuple[NDArray[Any] | None, Sequence[str]]] = {}
    examples = (shelf.examples or {}).get(category)
    if examples is not None:
        m = int(reading["m"][step])
        examples = examples[:m]
        few = f"{len(examples)} of " if len(examples) < m else ""
        which = "the image that defines" if m == 1 else f"{few}the {m} images that define"
        rows[f"{category}: {which} the ghosts"] = (
            examples,
            [f"{category}, image {i + 1}" for i in range(len(examples))],
        )
    for j, top in enumerate(reading["top"][step][:n_components]):
        chosen = [int(row) for row in top if row >= 0]
        if chosen:
            title = f"component {j + 1} of the ghosts ({reading['explained'][step, j]:.1%} of their variance)"
            images = None if shelf.pictures is None else np.stack([shelf.pictures[row] for row in chosen])
            rows[title] = (images, [str(shelf.names[row]) for row in chosen])
    return rows


def sheet_numbers(shelf: Shelf, category: str, *, step: int = -1) -> pd.DataFrame:
    """What is behind a sheet: ``m, ghosts, component, explained, control, rank, row, image``."""
    reading = shelf.readings[category]
    step = min(step, len(reading["m"]) - 1)
    lines = [
        {
            "m": int(reading["m"][step]),
            "ghosts": int(reading["ghosts"][step]),
            "component": j + 1,
            "explained": float(reading["explained"][step, j]),
            "control": float(reading["control"][step, j]),
            "rank": rank + 1,
            "row": int(row),
            "image": str(shelf.names[row]),
        }
        for j, top in enumerate(reading["top"][step])
        for rank, row in enumerate(top)
        if row >= 0
    ]
    columns = ["m", "ghosts", "component", "explained", "control", "rank", "row", "image"]
    return pd.DataFrame(lines, columns=columns)


def sheet(
    shelf: Shelf,
    category: str,
    *,
    name: str,
    caption: str,
    step: int = -1,
    n_components: int = 3,
    size: int = 80,
) -> HTML:
    """A category and its ghosts' first components as a figure of the page.

    Parameters
    ----------
    shelf, category, step, n_components
        As for :func:`sheet_rows`.
    name, caption, size
        As for :func:`rarefire.page.frame.contact_sheet`.
    """
    rows = sheet_rows(shelf, category, step=step, n_components=n_components)
    if not any(title.startswith("component") for title in rows):
        rows["ghosts"] = (None, ["none"])
    numbers = sheet_numbers(shelf, category, step=step)
    return frame.contact_sheet(rows, name=name, caption=caption, numbers=numbers, size=size)


def _still(shelf: Shelf, category: str, step: int, name: str, caption: str) -> HTML:
    """The figure for pages without scripts: one category, three components."""
    return sheet(shelf, category, name=name, caption=caption, step=step)
