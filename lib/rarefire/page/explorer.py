"""The pruning explorer: a slider for the features kept, under which the geometry holds, and then breaks.

It recomputes everything in the browser from the embeddings that travel in the page: live in
JupyterLab, and just as alive in the static book, without a kernel.

>>> from rarefire.page.explorer import Explorer, Scene
>>> explorer = Explorer([Scene("my images", "my network", embedding)])  # doctest: +SKIP
>>> explorer.observe(print, "fraction")  # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from numpy.typing import NDArray

from rarefire import rdm, stimuli
from rarefire.curves import ENOUGH, Curve, count, enough, geometry_curve, rdm_curve
from rarefire.errors import InputError
from rarefire.page import frame, palette, plots
from rarefire.page.scenes import Checked, Portrait, Scene, packed, portrait, portrayed
from rarefire.page.widgets import PageWidget, script

if TYPE_CHECKING:
    from rarefire.records.ensembles import Ensemble

__all__ = [
    "METRICS",
    "ORDERS",
    "REFERENCES",
    "VIEWS",
    "Explorer",
    "Portrait",
    "Scene",
    "portrait",
    "scenes",
]

ORDERS = ("low", "high", "random")
METRICS = ("correlation", "cosine")
REFERENCES = ("network", "people")
VIEWS = ("matrices", "maps")


def scenes(found: Mapping[str, Ensemble], *, seeds: Sequence[int] = (0, 1, 2)) -> list[Scene]:
    """Scenes of the book's ensembles, as far as their samples are shipped or can be computed.

    Parameters
    ----------
    found
        From :func:`rarefire.records.ensembles.by_images`. PoZ and ghosts are those over all test images.
    seeds
        Instances to choose from.
    """
    from rarefire import records  # networks and all: not needed to explore an embedding

    made = []
    for name, ensemble in found.items():
        at_hand = stimuli.load(name, "test") if stimuli.available(name) else None
        for seed in [s for s in seeds if s in ensemble.seeds]:
            # Of the same training run as the ensemble.
            shipped = any(answer.source == "shipped" for answer in ensemble.answers)
            few = records.ensembles.excerpt(name, ensemble.network, seed=seed, use_shipped=shipped)
            if few is None:
                continue
            row = ensemble.seeds.index(seed)
            made.append(
                Scene(
                    palette.LABELS.get(name, name),
                    f"{ensemble.network}, seed {seed}",
                    few["embedding"],
                    poz=ensemble.poz_test[row],
                    labels=few["labels"],
                    names=[str(category) for category in few["names"]],
                    ghosts=ensemble.ghosts[row],
                    images=None if at_hand is None else at_hand.images[few["rows"]],
                )
            )
    return made


class Explorer(PageWidget):
    """The pruning explorer.

    Parameters
    ----------
    scenes
        What can be chosen; the first one is shown first.
    name, caption
        As for :func:`rarefire.page.frame.show`.
    seed
        Of the random order.
    **state
        Any of the traits below.

    Attributes
    ----------
    scene
        Index of the scene shown.
    fraction
        Share of its features that is kept, in [0, 1]; at least one is.
    firing
        Whether features that never fire, PoZ = 100 %, are out of the order and of all that follows: curve,
        slider and RDMs are then of the others alone. Where no feature fires, all stay.
    order
        ``"low"`` (low→high PoZ), ``"high"`` or ``"random"``.
    metric
        ``"correlation"`` or ``"cosine"``.
    reference
        ``"network"`` (all its features) or ``"people"``, where the scene has a human RDM.
    category
        Index of the category whose ghosts are marked.
    feature
        Index, in the embedding, of the feature whose portrait is drawn; None for the one at the slider's
        place, which is kept last.
    view
        ``"matrices"`` of dissimilarities, or ``"maps"``: the images in a plane, what is alike close
        together, as :func:`rarefire.rdm.mds` lays them out. The right map is turned, mirrored and
        scaled onto the left one (Procrustes). Images without a similarity are left out; a pair that
        nobody judged takes the mean of what its two images have with the others. People's
        dissimilarities are shifted if some are negative, which no distance can be.

    Raises
    ------
    InputError
        For arrays that do not fit each other, activations that are not post-ReLU, and more images and
        features than a page can recompute while a slider moves.
    traitlets.TraitError
        For a trait out of range, here or later.

    Notes
    -----
    All attributes are traits: set them, ``observe`` them, or ``jslink`` them to stock widgets.
    What the browser shows is what :meth:`curve` and :meth:`portrait` compute here: embeddings travel in as
    few bits as leave R² within 0.0005 at every k.
    """

    _height = (66, 79)
    _esm = script("geometry", "curve", "feature", "explorer")

    scenes = traitlets.List(traitlets.Dict()).tag(sync=True)
    sprites = traitlets.List(traitlets.Dict()).tag(sync=True)
    colours = traitlets.Bytes().tag(sync=True)
    scene = traitlets.Int(0).tag(sync=True)
    fraction = traitlets.Float(1.0).tag(sync=True)
    order = traitlets.Enum(ORDERS, default_value="low").tag(sync=True)
    metric = traitlets.Enum(METRICS, default_value="correlation").tag(sync=True)
    reference = traitlets.Enum(REFERENCES, default_value="network").tag(sync=True)
    firing = traitlets.Bool(False).tag(sync=True)
    category = traitlets.Int(0).tag(sync=True)
    feature = traitlets.Int(None, allow_none=True).tag(sync=True)
    view = traitlets.Enum(VIEWS, default_value="matrices").tag(sync=True)
    least = traitlets.Float(ENOUGH, read_only=True).tag(sync=True)

    def __init__(
        self,
        scenes: Scene | Sequence[Scene],
        *,
        name: str = "explorer",
        caption: str = "What the first features of an order carry of the geometry of all of them.",
        seed: int = 0,
        **state: Any,
    ) -> None:
        given = [scenes] if isinstance(scenes, Scene) else list(scenes)
        if not given:
            raise InputError("an explorer needs at least one scene.")
        self._scenes = [Checked(scene, seed) for scene in given]
        there, sprites = packed(self._scenes)
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(self._scenes[0], name, caption),
            scenes=there,
            sprites=sprites,
            colours=palette.shades(),
            **state,
        )

    @traitlets.validate("scene", "fraction", "category", "feature")
    def _in_range(self, proposal: Any) -> Any:
        trait, value = proposal["trait"].name, proposal["value"]
        if trait == "fraction" and not 0 <= value <= 1:
            raise traitlets.TraitError(f"fraction lies in [0, 1]; got {value}.")
        if trait != "fraction" and value is not None and not 0 <= value < self._most(trait):
            raise traitlets.TraitError(f"{trait} is an index from 0 to {self._most(trait) - 1}; got {value}.")
        return value

    def _most(self, trait: str) -> int:
        if trait == "scene":
            return len(self._scenes)
        return max(int(s.ghosts.shape[trait == "feature"]) for s in self._scenes)

    @property
    def _order(self) -> NDArray[np.intp]:
        order: NDArray[np.intp] = self._scenes[self.scene].order(self.order, firing=self.firing)
        return order

    @property
    def k(self) -> int:
        """Number of features kept."""
        return count(float(self.fraction), len(self._order))

    @property
    def r2(self) -> float:
        """R² at the slider's place, as the page shows it.

        NaN where it is undefined, and where fewer than half of the images have a similarity: the R² of
        the few for which a rare feature happens to fire says nothing about the set.
        """
        curve, k = self.curve(), self.k
        n = self._scenes[self.scene].embedding.shape[0]
        return float(curve.r2[k - 1]) if enough(curve.n_images[k - 1], n) else math.nan

    def curve(self) -> Curve:
        """The whole curve in use, computed here, with the number of images that have a similarity."""
        shown, inserted = self._scenes[self.scene], self._order
        embedding, features = shown.embedding[:, inserted], np.arange(len(inserted))
        metric: Any = self.metric
        if self.reference == "people" and shown.human is not None:
            return rdm_curve(embedding, shown.human, features, metric=metric)
        return geometry_curve(embedding, features, metric=metric)

    def portrait(self) -> Portrait:
        """The feature whose portrait is drawn: which images it fires for, and what silencing it alone does.

        Where `feature` is not among those in use, it is the one at the slider's place.
        """
        shown, used = self._scenes[self.scene], self._order
        metric: Any = self.metric
        feature = int(used[self.k - 1])
        if self.feature is not None and self.feature in used:
            feature = self.feature
        return portrayed(shown, feature, metric=metric, firing=self.firing)


def _still(shown: Checked, name: str, caption: str) -> HTML:
    """The figure for pages without scripts: four places of the slider."""
    n = shown.embedding.shape[1]
    steps = sorted({count(share, n) for share in (1, 0.8, 0.4, 0.1)}, reverse=True)
    order = shown.orders["low"]
    r2 = geometry_curve(shown.embedding, order, k=steps).r2[::-1]
    limits = (0.0, max(1e-6, float(np.nanmax(1 - rdm.similarities(shown.embedding), initial=0))))
    panels, said = [], []
    for k, value in zip(steps, r2, strict=True):
        title = "all features" if k == n else f"{k / n:.0%} kept"
        below = f"R² = {value:.3f}" if np.isfinite(value) else "R² undefined"
        below = f"{n} features" if k == n else below
        square = 1 - rdm.similarities(shown.embedding[:, order[:k]])
        panels.append(plots.rdm_panel(square, title=title, below=below, limits=limits, size=1.5))
        said.append(f"{title}: {below}")
    return frame.show(
        panels,
        name=name,
        alt=f"Dissimilarity matrices of {len(shown.embedding)} images from all features and from the most "
        f"active ones. {'; '.join(said)}.",
        caption=caption,
        numbers=pd.DataFrame({"k": steps, "r2": r2}),
    )
