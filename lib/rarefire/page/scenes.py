"""An image set as one network sees it: what travels in a page of it, and what one of its features does there.

The explorer (:mod:`rarefire.page.explorer`) and the histogram of PoZ (:mod:`rarefire.page.widgets`) show the
same scenes, and the same portrait of a feature, computed in the page as :func:`portrait` does it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire import poz, rdm, units
from rarefire._engine.arguments import checked
from rarefire.curves import Curve, geometry_curve
from rarefire.errors import InputError
from rarefire.page import frame
from rarefire.rdm import Metric
from rarefire.reliability import NoiseCeiling

__all__ = ["MOST_FEATURES", "THUMBNAIL", "Checked", "Portrait", "Scene", "packed", "portrait", "portrayed"]

_MANY = 2**18  # embeddings with more numbers than this may travel in 8 bits each, others in 16
_MOST_IMAGES = 400  # an RDM of more is too fine to see, and too much to recompute in a frame
MOST_FEATURES = 2**16 - 1
_MOST_WORK = 2**30  # images² × features: a step of the slider then takes a quarter of a second
_CLOSE = 5e-4  # of R²
THUMBNAIL = 48  # pixels; larger images are scaled down
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


class Checked:
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
        self.sort = sort = np.argsort(labels, kind="stable")
        self.scene, self.labels, self.embedding = scene, labels[sort], embedding[sort]
        self.names = names
        self.poz = own if scene.poz is None else np.asarray(scene.poz, dtype=np.float64)
        if self.poz.shape != (p,) or not ((self.poz >= 0) & (self.poz <= 1)).all():
            came = f"{self.poz.shape}, from {self.poz.min():.3g} to {self.poz.max():.3g}"
            raise InputError(f"poz must be ({p},), one share in [0, 1] per feature; got {came}.")
        # As PoZ travels: what fires is the same in the page.
        fires = self.poz.astype("<f4") < 1
        self.firing = np.flatnonzero(fires if fires.any() else ~fires)
        self.orders = {
            "low": poz.order(self.poz, first="low"),
            "high": poz.order(self.poz, first="high"),
            "random": np.random.default_rng(seed).permutation(p),
        }
        self.groups = self.names or ["these images"]
        groups = len(self.groups)
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

    def used(self, *, firing: bool) -> NDArray[np.intp]:
        """The features in use: all, or those that fire (all where none does)."""
        return self.firing if firing else np.arange(self.embedding.shape[1])

    def order(self, name: str, *, firing: bool) -> NDArray[np.intp]:
        """An order of the features in use, by name; their indices among all."""
        order = self.orders[name]
        return order[np.isin(order, self.used(firing=firing))]

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
            "groups": self.groups,
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

    Each image may be scaled by a factor of its own, its largest activation: that changes no similarity.
    Where it is, the factors travel too.
    """
    with np.errstate(over="ignore"):
        half = embedding.astype("<f2")
    if np.array_equal(half, embedding):
        return {"kind": "f2", "embedding": half.tobytes()}
    largest = embedding.max(axis=1, keepdims=True)
    scaled = embedding / np.where(largest > 0, largest, 1)
    sizes = {"sizes": np.where(largest > 0, largest, 1).astype("<f8").tobytes()}
    exact = _curves(embedding, orders)
    if embedding.size > _MANY:
        # A step for each feature; what is 0 stays 0, and nothing else becomes 0.
        steps = (scaled.max(axis=0) / 255).astype("<f4")
        codes = np.rint(scaled / np.where(steps > 0, steps, 1))
        codes = np.where(scaled > 0, np.clip(codes, 1, 255), 0).astype(np.uint8)
        if _same(_curves(codes * steps.astype(np.float64), orders), exact):
            return {"kind": "u1", "embedding": codes.tobytes(), "steps": steps.tobytes(), **sizes}
    for kind in ("f2", "f4"):
        fewer = scaled.astype(f"<{kind}")
        if _same(_curves(fewer.astype(np.float64), orders), exact):
            return {"kind": kind, "embedding": fewer.tobytes(), **sizes}
    return {"kind": "f8", "embedding": scaled.astype("<f8").tobytes(), **sizes}


def _curves(embedding: NDArray[np.float64], orders: Sequence[NDArray[np.intp]]) -> list[Curve]:
    return [geometry_curve(embedding, order, metric=m) for order in orders for m in ("correlation", "cosine")]


def _same(some: list[Curve], exact: list[Curve]) -> bool:
    return all(
        np.array_equal(a.n_images, b.n_images)
        and np.allclose(a.r2, b.r2, rtol=0, atol=_CLOSE, equal_nan=True)
        for a, b in zip(some, exact, strict=True)
    )


def packed(scenes: Iterable[Checked]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What travels in the page of several scenes, and their pictures, each sheet of them once."""
    made, sprites = list[dict[str, Any]](), list[dict[str, Any]]()
    for checked_ in scenes:
        scene = checked_.packed()
        if checked_.images is not None:
            sprite = frame.sprite(checked_.images, largest=THUMBNAIL)
            if sprite not in sprites:  # several networks, the same images
                sprites.append(sprite)
            scene["sprite"] = sprites.index(sprite)
        made.append(scene)
    return made, sprites


@dataclass(frozen=True, eq=False)
class Portrait:
    """One feature of a scene.

    Attributes
    ----------
    feature
        Its index in the embedding.
    poz
        Share of images for which it is 0, in [0, 1]; over more images where the scene says so.
    activations
        ``(n_images,)``, ≥ 0.
    images
        Rows of those for which it fires, the one with the highest activation first.
    means, shares
        ``(n_categories,)``: its mean activation over a category's images, and the share of them for which it
        fires; NaN where none of them is here. Without labels the only category is all of the images.
    silenced
        R² of the RDM in which this feature alone is silenced (set to 0) and the whole one.
    left_out
        R² of the RDM without it and the whole one. For the cosine the same.
    n_images
        Images that have a similarity without it.
    rank
        1 for the feature that changes most when it is silenced; equals share the first rank.
    n_features
        Features in the whole RDM.
    """

    feature: int
    poz: float
    activations: NDArray[np.float64]
    images: NDArray[np.intp]
    means: NDArray[np.float64]
    shares: NDArray[np.float64]
    silenced: float
    left_out: float
    n_images: int
    rank: int
    n_features: int


@checked
def portrait(scene: Scene, feature: int, *, metric: Metric = "correlation", firing: bool = False) -> Portrait:
    """One feature of a scene: which images it fires for, and what silencing it alone does to the geometry.

    Parameters
    ----------
    scene
        An image set as seen by one network.
    feature
        Its index in the embedding, from 0.
    metric
        ``"correlation"`` or ``"cosine"``.
    firing
        Whether the whole RDM is of the features that fire, PoZ below 100 %, instead of all.

    Returns
    -------
    Portrait
        What the explorer shows of it, from the embedding as it was given.

    Raises
    ------
    InputError
        For an index that no feature has, or a feature that never fires where only those that do count; and
        for a scene whose arrays do not fit each other.
    """
    return portrayed(Checked(scene, 0), feature, metric=metric, firing=firing)


def portrayed(shown: Checked, feature: int, *, metric: Metric, firing: bool) -> Portrait:
    """:func:`portrait` of a scene that is checked already."""
    embedding, p = shown.embedding, shown.embedding.shape[1]
    if not 0 <= feature < p:
        raise InputError(f"feature is an index from 0 to {p - 1}; got {feature}.")
    used = shown.used(firing=firing)
    if feature not in used:
        raise InputError(
            f"feature {feature} never fires (PoZ = 100 %): it is not among the {len(used)} that do. "
            "Say firing=False, or choose one of them."
        )
    place = int(np.searchsorted(used, feature))
    silenced = units.without_each(embedding[:, used], metric=metric)
    left_out = units.without_each(embedding[:, used], metric=metric, silenced=False)
    sizes = embedding[:, feature]
    most = np.argsort(-sizes, kind="stable")
    activations = np.empty_like(sizes)
    activations[shown.sort] = sizes
    categories = [sizes[shown.labels == c] for c in range(len(shown.groups))]
    return Portrait(
        feature=int(feature),
        poz=float(shown.poz[feature]),
        activations=activations,
        images=shown.sort[most[: np.count_nonzero(sizes)]],
        means=np.array([theirs.mean() if len(theirs) else np.nan for theirs in categories]),
        shares=np.array([(theirs > 0).mean() if len(theirs) else np.nan for theirs in categories]),
        silenced=float(silenced.r2[place]),
        left_out=float(left_out.r2[place]),
        n_images=int(silenced.n_images[place]),
        rank=int(silenced.rank[place]),
        n_features=len(used),
    )
