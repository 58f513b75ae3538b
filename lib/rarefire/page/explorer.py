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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML
from numpy.typing import ArrayLike, NDArray

from rarefire import poz, rdm, stimuli
from rarefire.curves import ENOUGH, Curve, count, enough, geometry_curve, rdm_curve
from rarefire.errors import InputError
from rarefire.page import frame, palette, plots
from rarefire.page.widgets import PageWidget, script
from rarefire.reliability import NoiseCeiling

if TYPE_CHECKING:
    from rarefire.records.ensembles import Ensemble

__all__ = ["METRICS", "MOST_FEATURES", "ORDERS", "REFERENCES", "VIEWS", "Explorer", "Scene", "scenes"]

ORDERS = ("low", "high", "random")
METRICS = ("correlation", "cosine")
REFERENCES = ("network", "people")
VIEWS = ("matrices", "maps")

_MANY = 2**18  # embeddings with more numbers than this may travel in 8 bits each, others in 16
_MOST_IMAGES = 400  # an RDM of more is too fine to see, and too much to recompute in a frame
MOST_FEATURES = 2**16 - 1
_MOST_WORK = 2**30  # images² × features: a step of the slider then takes a quarter of a second
_CLOSE = 5e-4  # of R²
_THUMBNAIL = 48  # pixels; larger images are scaled down
_MOST_NAMES = 2**16  # labels travel in 16 bits
_LONGEST_NAME = 255  # characters; every name travels in the page


@dataclass(frozen=True)
class Scene:
    """One image set as seen by one network.

    Attributes
    ----------
    stimuli, network
        Names to choose by, e.g. ``"digits"`` and ``"LeNet-5, seed 0"``.
    embedding
        ``(n_images, n_features)``, post-ReLU; 3 to 400 images.
    poz
        ``(n_features,)`` in [0, 1]; by default PoZ over these images. From more images of the same
        kind where there are more.
    labels
        ``(n_images,)`` integers from 0; images are shown in their order, and named.
    names
        Of the categories, by label.
    ghosts
        ``(n_categories, n_features)``, the ghosts of every category (:func:`rarefire.poz.ghosts`), from more
        images. By default the features that are silent for those of its images that are here, and whose
        `poz` is below 1. Without labels the only category is all of the images here.
    images
        ``(n_images, channels, height, width)`` in [0, 1], shown for the cell that is pointed at.
    human
        People's dissimilarities of the same images, condensed or square; NaN where nobody judged a pair.
    ceiling
        Of r with `human`: what a perfect model would reach, between `low` and `high`. If `human` is the
        mean over people, that is how reliable the mean is (:func:`rarefire.reliability.split_half`, the
        root of ``corrected``), and not how well the mean predicts a single person.
    """

    stimuli: str
    network: str
    embedding: ArrayLike
    poz: ArrayLike | None = None
    labels: ArrayLike | None = None
    names: Sequence[str] = ()
    ghosts: ArrayLike | None = None
    images: ArrayLike | None = None
    human: ArrayLike | None = None
    ceiling: NoiseCeiling | None = None


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
    order
        ``"low"`` (low→high PoZ), ``"high"`` or ``"random"``.
    metric
        ``"correlation"`` or ``"cosine"``.
    reference
        ``"network"`` (all its features) or ``"people"``, where the scene has a human RDM.
    category
        Index of the category whose ghosts are marked.
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
    All seven attributes are traits: set them, ``observe`` them, or ``jslink`` them to stock widgets.
    What the browser shows is what :meth:`curve` computes here: embeddings travel in as few bits as
    leave R² within 0.0005 at every k.
    """

    _esm = script("geometry", "curve", "explorer")

    scenes = traitlets.List(traitlets.Dict()).tag(sync=True)
    sprites = traitlets.List(traitlets.Dict()).tag(sync=True)
    colours = traitlets.Bytes().tag(sync=True)
    scene = traitlets.Int(0).tag(sync=True)
    fraction = traitlets.Float(1.0).tag(sync=True)
    order = traitlets.Enum(ORDERS, default_value="low").tag(sync=True)
    metric = traitlets.Enum(METRICS, default_value="correlation").tag(sync=True)
    reference = traitlets.Enum(REFERENCES, default_value="network").tag(sync=True)
    category = traitlets.Int(0).tag(sync=True)
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
        self._scenes = [_Checked(scene, seed) for scene in given]
        packed, sprites = [checked.packed() for checked in self._scenes], []
        for scene, checked in zip(packed, self._scenes, strict=True):
            if checked.images is not None:
                sprite = frame.sprite(checked.images, largest=_THUMBNAIL)
                if sprite not in sprites:  # several networks, the same images
                    sprites.append(sprite)
                scene["sprite"] = sprites.index(sprite)
        super().__init__(
            name=name,
            caption=caption,
            fallback=_still(self._scenes[0], name, caption),
            scenes=packed,
            sprites=sprites,
            colours=palette.shades(),
            **state,
        )

    @traitlets.validate("scene", "fraction", "category")
    def _in_range(self, proposal: Any) -> Any:
        trait, value = proposal["trait"].name, proposal["value"]
        if trait == "fraction" and not 0 <= value <= 1:
            raise traitlets.TraitError(f"fraction lies in [0, 1]; got {value}.")
        if trait != "fraction" and not 0 <= value < self._most(trait):
            raise traitlets.TraitError(f"{trait} is an index from 0 to {self._most(trait) - 1}; got {value}.")
        return value

    def _most(self, trait: str) -> int:
        return len(self._scenes) if trait == "scene" else max(len(s.ghosts) for s in self._scenes)

    @property
    def k(self) -> int:
        """Number of features kept."""
        p: int = self._scenes[self.scene].embedding.shape[1]
        return count(float(self.fraction), p)

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
        shown = self._scenes[self.scene]
        features = shown.orders[self.order]
        metric: Any = self.metric
        if self.reference == "people" and shown.human is not None:
            return rdm_curve(shown.embedding, shown.human, features, metric=metric)
        return geometry_curve(shown.embedding, features, metric=metric)


class _Checked:
    """A scene whose arrays fit each other, images in the order of their labels."""

    def __init__(self, scene: Scene, seed: int) -> None:
        embedding = rdm.check_embedding(scene.embedding)
        n, p = embedding.shape
        if p > MOST_FEATURES:
            raise InputError(
                f"an explorer takes up to {MOST_FEATURES:,} features; got {p:,}. Choose some of them."
            )
        if n > _MOST_IMAGES:
            raise InputError(f"an explorer shows up to {_MOST_IMAGES} images; got {n}. Choose some of them.")
        if n**2 * p > _MOST_WORK:
            raise InputError(
                f"{n} images × {p:,} features are too many to recompute in a page; choose fewer."
            )
        own = poz.poz(embedding)  # refuses what is not post-ReLU
        labels = np.zeros(n, dtype=np.intp) if scene.labels is None else np.asarray(scene.labels)
        if labels.shape != (n,) or labels.dtype.kind not in "iu" or labels.min() < 0:
            came = f"{labels.shape} {labels.dtype}"
            raise InputError(f"labels must be ({n},) integers from 0, one per image; got {came}.")
        names = [] if scene.labels is None else [str(name) for name in scene.names]
        if scene.labels is not None and len(names) <= labels.max():
            raise InputError(f"labels go up to {labels.max()}, but there are {len(names)} names.")
        if len(names) > _MOST_NAMES:
            raise InputError(
                f"an explorer takes up to {_MOST_NAMES:,} categories; got {len(names):,}. Choose some."
            )
        for name in (scene.stimuli, scene.network, *names):
            if len(name) > _LONGEST_NAME:
                raise InputError(
                    f"names have at most {_LONGEST_NAME} characters; {name[:30]!r}… has {len(name):,}. "
                    "Shorten it."
                )
        sort = np.argsort(labels, kind="stable")
        self.scene, self.labels, self.embedding = scene, labels[sort], embedding[sort]
        self.names = names
        self.poz = own if scene.poz is None else np.asarray(scene.poz, dtype=np.float64)
        if self.poz.shape != (p,) or not ((self.poz >= 0) & (self.poz <= 1)).all():
            came = f"{self.poz.shape}, from {self.poz.min():.3g} to {self.poz.max():.3g}"
            raise InputError(f"poz must be ({p},), one share in [0, 1] per feature; got {came}.")
        self.orders = {
            "low": poz.order(self.poz, first="low"),
            "high": poz.order(self.poz, first="high"),
            "random": np.random.default_rng(seed).permutation(p),
        }
        groups = len(self.names) or 1
        if scene.ghosts is None:
            ghosts = np.zeros((groups, p), dtype=bool)
            ghosts[np.unique(labels)] = poz.silent(embedding, labels) & (self.poz < 1)
        else:
            ghosts = np.asarray(scene.ghosts, dtype=bool)
        if ghosts.shape != (groups, p):
            raise InputError(f"ghosts must be ({groups}, {p}), categories by features; got {ghosts.shape}.")
        self.ghosts = ghosts
        self.images = None
        if scene.images is not None:
            images = np.asarray(scene.images, dtype=np.float64)
            if images.ndim != 4 or len(images) != n or images.shape[1] not in (1, 3) or not images.size:
                raise InputError(f"images must be ({n}, 1 or 3, height, width); got {images.shape}.")
            if not (images.min() >= 0 and images.max() <= 1):
                came = f"{images.min():.3g} to {images.max():.3g}"
                raise InputError(f"images must lie in [0, 1]; got {came}. Divide 8-bit images by 255.")
            self.images = images[sort]
        self.human = None
        if scene.human is not None:
            square = rdm.square(rdm.check_rdm(scene.human, n))[np.ix_(sort, sort)]
            self.human = square[np.triu_indices(n, k=1)]

    def packed(self) -> dict[str, Any]:
        """What travels in the page."""
        n, p = self.embedding.shape
        scene: dict[str, Any] = {
            "stimuli": self.scene.stimuli,
            "network": self.scene.network,
            "shape": [n, p],
            **_compact(self.embedding, [self.orders["low"], self.orders["high"]]),
            "poz": self.poz.astype("<f4").tobytes(),
            "labels": self.labels.astype("<u2").tobytes(),
            "names": self.names,
            "groups": self.names or ["these images"],
            "ghosts": self.ghosts.astype(np.uint8).tobytes(),
            "orders": {name: order.astype("<u2").tobytes() for name, order in self.orders.items()},
            "ceiling": [],
        }
        if self.human is not None:
            # Standardised: whatever people's scale is, single precision is enough.
            scene["human"] = (-rdm.standardised(self.human)).astype("<f4").tobytes()
            scene["scale"] = [float(np.nanmean(self.human)), float(np.nanstd(self.human))]
            ceiling = self.scene.ceiling
            if ceiling is not None and np.isfinite([ceiling.low, ceiling.high]).all():
                scene["ceiling"] = [ceiling.low, ceiling.high]
        return scene


def _compact(embedding: NDArray[np.float64], orders: Sequence[NDArray[np.intp]]) -> dict[str, Any]:
    """The embedding in as few bits as leave every curve where it is: what JavaScript needs to decode it.

    Each image may be scaled by a factor of its own: that changes no similarity.
    """
    with np.errstate(over="ignore"):
        half = embedding.astype("<f2")
    if np.array_equal(half, embedding):
        return {"kind": "f2", "embedding": half.tobytes()}
    largest = embedding.max(axis=1, keepdims=True)
    scaled = embedding / np.where(largest > 0, largest, 1)
    exact = _curves(embedding, orders)
    if embedding.size > _MANY:
        # A step for each feature; what is 0 stays 0, and nothing else becomes 0.
        steps = (scaled.max(axis=0) / 255).astype("<f4")
        codes = np.rint(scaled / np.where(steps > 0, steps, 1))
        codes = np.where(scaled > 0, np.clip(codes, 1, 255), 0).astype(np.uint8)
        if _same(_curves(codes * steps.astype(np.float64), orders), exact):
            return {"kind": "u1", "embedding": codes.tobytes(), "steps": steps.tobytes()}
    for kind in ("f2", "f4"):
        fewer = scaled.astype(f"<{kind}")
        if _same(_curves(fewer.astype(np.float64), orders), exact):
            return {"kind": kind, "embedding": fewer.tobytes()}
    return {"kind": "f8", "embedding": scaled.astype("<f8").tobytes()}


def _curves(embedding: NDArray[np.float64], orders: Sequence[NDArray[np.intp]]) -> list[Curve]:
    return [geometry_curve(embedding, order, metric=m) for order in orders for m in ("correlation", "cosine")]


def _same(some: list[Curve], exact: list[Curve]) -> bool:
    return all(
        np.array_equal(a.n_images, b.n_images)
        and np.allclose(a.r2, b.r2, rtol=0, atol=_CLOSE, equal_nan=True)
        for a, b in zip(some, exact, strict=True)
    )


def _still(shown: _Checked, name: str, caption: str) -> HTML:
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
