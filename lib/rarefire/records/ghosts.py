"""Ghosts of photographs' categories in a larger network, read against a gallery of other photographs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import nn
from tqdm import tqdm

from rarefire import embeddings, ghosts, inference, networks, retrieval, selection, stimuli, store
from rarefire._engine import blocks
from rarefire.errors import InputError
from rarefire.judgments import Judgments
from rarefire.names import beside
from rarefire.records.record import Array, Record, answer_each, shipped
from rarefire.retrieval import QUERIES
from rarefire.rounding import SAME, levels
from rarefire.stimuli import Gallery

__all__ = [
    "CATEGORIES",
    "EVERY",
    "LOOKS",
    "N_COMPONENTS",
    "TOP",
    "Reading",
    "census",
    "controls",
    "known",
    "looks",
    "measure",
    "read",
    "retrieved",
    "separate",
    "steps",
]

_STEPS = 16  # kept for each category, the rest empty
_DRAWS = 3  # of random features, for the control
_SPLITS = 20  # halves of a category
#: Components of the ghosts' activations that are kept, and images of each.
N_COMPONENTS, TOP = 10, 8
_IMAGES = ("first", "typical")
_BY_STEP = ("m", "ghosts", "expected", "explained", "top", "control", "ceiling", "looks")

#: Categories of the photographs of Kriegeskorte et al. (2008), by the names that these give.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "faces": ("human face", "nonhuman face"),
    "bodies": ("human bodypart", "nonhuman bodypart"),
    "animals": ("nonhuman bodypart", "nonhuman face"),
    "natural objects": ("natural inanimate",),
    "artificial objects": ("artificial inanimate",),
}
#: What a picture looks like, in numbers: :func:`looks`.
LOOKS = ("light", "contrast", "colour", "detail", "upright", "frame")
#: All of these photographs, as one category.
EVERY = "all 92 images"


def steps(n: int) -> list[int]:
    """Numbers of images at which a category of `n` is looked at: 1, 2, 5, 10, 20, … and n itself."""
    if n < 1:
        raise InputError(f"a category has at least one image; got {n}.")
    rounds = [digit * 10**power for power in range(len(str(n))) for digit in (1, 2, 5)]
    return [*(m for m in rounds if m <= 0.7 * n), n]


# --- one category and a gallery ------------------------------------------------------------------


def read(
    category: NDArray[np.floating],
    gallery: Any,
    *,
    at: Sequence[int],
    seen: NDArray[np.floating] | None = None,
    draws: int = _DRAWS,
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """Read the ghosts of a category, for several numbers of images that define them.

    Parameters
    ----------
    category
        ``(n, n_features)``, post-ReLU, in the order in which its images are looked at.
    gallery
        ``(n_gallery, n_features)``: other images, anything that :mod:`rarefire._engine.blocks` reads.
    at
        The first so many images define the ghosts.
    seen
        ``(n_gallery, 6)``, :func:`looks` of the gallery.
    draws
        Of random features, for the control; 0 for none, and two at least for the ceiling.
    seed
        Of these.

    Returns
    -------
    dict
        ``m``, ``ghosts (S,)``, numbers of images and of ghosts; ``expected (S,)``, of ghosts on average
        over which images (:meth:`rarefire.ghosts.Ghosts.rarefaction`); ``explained (S, 10)``, shares of
        variance, NaN where there is no such component, or images and ghosts are both more than
        :data:`rarefire.ghosts.MOST`; ``top (S, 10, 8)``, rows of the gallery that score highest, −1
        there; ``control (S, 10)``, adjusted R² of each component's scores from ten components of as many
        random features that are no ghosts (:func:`rarefire.ghosts.explained_by`; all of those that there
        are, where these are fewer), mean over draws; ``ceiling (S, 10)``, the same of one draw from
        another, which have no feature in common where there are enough; ``looks (S, 10, 6)``,
        Spearman's r of each component's scores with :data:`LOOKS`; ``dead`` and ``chance (3,)``, rate,
        high and every (:class:`rarefire.ghosts.Chance`) with all images.
    """
    n = len(category)
    everything = ghosts.find(category, np.arange(n), others=gallery)
    alive = np.flatnonzero(~everything.dead)
    fires = category > 0
    rng = np.random.default_rng(seed)
    shape = (len(at), N_COMPONENTS)
    found: dict[str, NDArray[Any]] = {
        "m": np.asarray(at, dtype=np.int64),
        "ghosts": np.zeros(len(at), dtype=np.int64),
        "expected": everything.rarefaction(list(at)),
        "explained": np.full(shape, np.nan),
        "top": np.full((*shape, TOP), -1, dtype=np.int32),
        "control": np.full(shape, np.nan),
        "ceiling": np.full(shape, np.nan),
        "looks": np.full((*shape, len(LOOKS)), np.nan),
        "dead": np.asarray(everything.dead.sum()),
        "chance": np.asarray(everything.chance()[:3]),
    }
    for i, m in enumerate(at):
        features = alive[~fires[:m, alive].any(axis=0)]
        found["ghosts"][i] = len(features)
        if 0 < min(len(features), gallery.shape[0]) <= ghosts.MOST:
            own = ghosts.components(gallery, features, n=N_COMPONENTS)
            k = len(own.explained)
            found["explained"][i, :k] = own.explained
            count = min(TOP, len(own.scores))
            found["top"][i, :k, :count] = own.top(count)
            if seen is not None:
                ranked = np.array([stats.rankdata(levels(column)) for column in (*own.scores.T, *seen.T)])
                with np.errstate(invalid="ignore"):  # a look that does not vary
                    found["looks"][i, :k] = np.corrcoef(ranked)[:k, k:]
            if draws and k:
                pool = rng.permutation(np.setdiff1d(alive, features))
                count = min(len(features), len(pool))
                places = [np.arange(d * count, (d + 1) * count) % max(1, len(pool)) for d in range(draws)]
                others = [ghosts.components(gallery, pool[p], n=N_COMPONENTS).scores for p in places if count]
                r2 = [ghosts.explained_by(own.scores, scores, adjusted=True) for scores in others]
                found["control"][i, :k] = np.mean(r2, axis=0) if r2 else np.nan
                if len(others) > 1 and len(pool) > count:
                    pairs = [(others[d], others[d - 1]) for d in range(draws)]
                    most = min(scores.shape[1] for scores in others)
                    r2 = [ghosts.explained_by(one[:, :most], other, adjusted=True) for one, other in pairs]
                    found["ceiling"][i, :most] = np.mean(r2, axis=0)
    return found


def looks(images: NDArray[np.floating]) -> NDArray[np.float64]:
    """What pictures look like, in a few numbers that need no network.

    Parameters
    ----------
    images
        ``(n, c, h, w)`` in [0, 1].

    Returns
    -------
    ndarray
        ``(n, 6)``, by :data:`LOOKS`: ``light``, mean luminance; ``contrast``, its standard deviation;
        ``colour``, mean distance between the largest and the smallest channel; ``detail``, mean length of
        the luminance's gradient, per pixel; ``upright``, the share of the gradient's energy across the
        picture, from vertical edges; ``frame``, detail in the outer fifth on each side relative to that of
        the whole: high for patterned backgrounds, low for single objects on a plain one.
    """
    weights = np.array([0.299, 0.587, 0.114]) if images.shape[1] == 3 else np.ones(1)
    luminance = np.einsum("nchw,c->nhw", images, weights)
    down, across = (np.where(np.abs(slope) > SAME, slope, 0) for slope in np.gradient(luminance, axis=(1, 2)))
    length = np.hypot(down, across)
    detail = length.mean(axis=(1, 2))
    edge = [max(1, side // 5) for side in luminance.shape[1:]]
    outer = np.ones(luminance.shape[1:], dtype=bool)
    outer[edge[0] : -edge[0], edge[1] : -edge[1]] = False
    energy = (length**2).sum(axis=(1, 2))
    return np.stack(
        [
            luminance.mean(axis=(1, 2)),
            luminance.std(axis=(1, 2)),
            (images.max(axis=1) - images.min(axis=1)).mean(axis=(1, 2)),
            detail,
            np.divide((across**2).sum(axis=(1, 2)), energy, out=np.full(len(images), 0.5), where=energy > 0),
            np.divide(length[:, outer].mean(axis=1), detail, out=np.ones(len(images)), where=detail > 0),
        ],
        axis=1,
    )


def separate(
    category: NDArray[np.floating],
    outside: Mapping[str, Any],
    *,
    alive: ArrayLike | None = None,
    n_splits: int = _SPLITS,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """How well ghosts separate a category from other images, beside the other queries.

    One half of the category makes the queries, the other half and images from outside are scored.

    Parameters
    ----------
    category
        ``(n, n_features)``, at least 4 images.
    outside
        By name, ``(n_other, n_features)``, anything that :mod:`rarefire._engine.blocks` reads.
    alive
        As for :func:`rarefire.retrieval.queries`.
    n_splits
        Random halves; their results are summarised by :func:`rarefire.selection.over_partitions`.
    level
        Of the intervals.
    seed
        Of the halves and of the random features.

    Returns
    -------
    dict
        ``auc (len(outside), 5)``, the median over halves, in the order of
        :data:`rarefire.retrieval.QUERIES`; ``difference (len(outside), 4, 5)``, AUC of the ghosts minus
        that of each other query: estimate, low, high, se (DeLong et al. 1988, and over halves) and p, t
        with the held-out images of the category minus one for degrees of freedom.
    """
    n = len(category)
    if n < 4:
        raise InputError(f"a category is halved, so it needs at least four images; got {n}.")
    rng = np.random.default_rng(seed)
    halves = [np.array_split(rng.permutation(n), 2) for _ in range(n_splits)]
    asked: dict[tuple[int, str], retrieval.Query] = {}
    for i, (defining, _) in enumerate(halves):
        made = retrieval.queries(category[defining], alive=alive, rng=rng)
        asked |= {(i, name): query for name, query in made.items()}
    named: Any = asked  # names are the caller's own
    own = retrieval.unlikeness(category, named)
    areas = np.empty((len(outside), n_splits, len(QUERIES)))
    differences = np.empty((len(outside), n_splits, len(QUERIES) - 1, 2))
    for place, source in enumerate(outside.values()):
        scores = retrieval.unlikeness(source, named)
        for i, (_, held) in enumerate(halves):
            each = [retrieval.auc(own[i, name][held], scores[i, name]) for name in QUERIES]  # type: ignore[index]
            areas[place, i] = [area.value for area in each]
            differences[place, i] = [retrieval.auc_difference(each[0], other) for other in each[1:]]
    tests = np.empty((len(outside), len(QUERIES) - 1, 5))
    df = len(halves[0][1]) - 1
    for index in np.ndindex(tests.shape[:2]):
        d, variance = differences[index[0], :, index[1]].T
        estimate, se = selection.over_partitions(d, variance)
        low, high, p = inference.t_interval(estimate, se, df, level=level)
        tests[index] = (estimate, low, high, se, p)
    return {"auc": np.median(areas, axis=1), "difference": tests}


@dataclass(frozen=True, eq=False, repr=False)
class Reading(Record):
    """One category, read against a gallery by one network: the numbers of :func:`read` and :func:`separate`.

    Arrays along the S steps come without the empty ones that are kept beside them.
    """

    m = Array("S,", "numbers of images that define the ghosts")
    ghosts = Array("S,", "numbers of ghosts")
    expected = Array("S,", "of ghosts, on average over which images")
    explained = Array("S, 10", "shares of variance of the components")
    top = Array("S, 10, 8", "rows of the gallery that score highest")
    control = Array("S, 10", "adjusted R² of each component from as many random features")
    ceiling = Array("S, 10", "the same of one draw of random features from another")
    looks = Array("S, 10, 6", "Spearman's r of each component's scores with :data:`LOOKS`")
    dead = Array("", "features silent for the category and the gallery")
    chance = Array("3,", "rate, high and every (:class:`rarefire.ghosts.Chance`) with all images")
    auc = Array(
        "2, 5", "against the other judged photographs (NaN for a category of the gallery), the gallery"
    )
    difference = Array(
        "2, 4, 5", "AUC of the ghosts minus that of each other query: estimate, low, high, se, p"
    )
    first = Array("n ≤ 8,", "rows of the images that are looked at first")
    typical = Array("n ≤ 8,", "rows of the images nearest to the category's mean (cosine)")
    plain = Array("6,", "where the category's median picture stands among the gallery's, by :data:`LOOKS`")
    names = Array("n_gallery,", "of the gallery's pictures")

    @property
    def category(self) -> str:
        """Its name."""
        return str(self.facts["category"])

    @property
    def about(self) -> str:
        """Where the photographs come from."""
        return str(self.facts["gallery"] if self.from_gallery else self.facts["judgments"])

    @property
    def from_gallery(self) -> bool:
        """Whether the category is one of the gallery, rather than of the judged photographs."""
        return self.category in stimuli.WORDNET

    def __getitem__(self, name: str) -> NDArray[Any]:
        values = self.arrays[name]
        if name in _BY_STEP:
            return values[: np.count_nonzero(self.arrays["m"])]
        return values[values >= 0] if name in _IMAGES else values

    @property
    def n_images(self) -> int:
        """Images of the category."""
        return int(self.m[-1])

    @property
    def n_features(self) -> int:
        """Features in all."""
        return int(self["n_features"])

    @property
    def from_random(self) -> float:
        """How much of the ghosts' first component, with all images, as many random features explain: R²."""
        return float(self.control[-1, 0])


def measure(
    given: Judgments,
    gallery: Gallery,
    network: nn.Module,
    *,
    name: str,
    layer: str = embeddings.PENULTIMATE,
    seed: int = 0,
    use_shipped: bool = True,
    progress: bool = True,
) -> list[Reading]:
    """Read the ghosts of judged photographs, and of kinds within the gallery; compute what is not known.

    Parameters
    ----------
    given
        Judgments with the photographs of :data:`CATEGORIES` (``judgments.load("mur")``).
    gallery
        Other photographs, named by their ImageNet classes.
    network, layer
        As for :func:`rarefire.embeddings.extract`.
    name
        Of the network, for captions.
    seed
        Of orders, halves and random features.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show progress bars.

    Notes
    -----
    The gallery's embedding is written to the cache, a batch at a time, and removed when all is read; a
    stopped run goes on from there.
    """
    if given.images is None:
        raise InputError(f"the images of {given.name!r} are not at hand; a network needs them.")
    images = given.images
    kinds = [kind for kind in stimuli.WORDNET if gallery.within(kind).sum() >= 4]
    shared = {
        "judgments": given.name,
        "images_digest": images.digest,
        "gallery_digest": gallery.digest,
        "gallery": gallery.root.name,
        "network": name,
        "weights_digest": networks.digest(network),
        "normalisation": networks.normalisation(network),
        "layer": layer,
        "seed": seed,
    }

    def compute(missing: list[str]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        path = store.cache_dir() / "embeddings" / f"{store.key(**shared)}.npy"
        # A stopped run may have left it, under the name of the same facts.
        saved = embeddings.cached(path, len(gallery))
        if saved is None:
            saved = embeddings.save(path, network, gallery, layer=layer, progress=progress)
        own = embeddings.extract(network, images, layer=layer, batch_size=32)
        labels = np.array(images.class_names)[images.labels]
        seen = np.concatenate([looks(gallery[i : i + 64]) for i in range(0, len(gallery), 64)])
        seen_own, names = looks(images.images), np.array(gallery.names)
        for category in tqdm(missing, desc=f"{name}: ghosts", disable=not progress):
            if category in kinds:
                inside = gallery.within(category)
                others = blocks.Rows(saved, np.flatnonzero(~inside))
                found = _reading(saved, inside, None, others, seen, seen, seed=seed)
            else:
                inside = np.isin(labels, CATEGORIES[category]) if category in CATEGORIES else labels != ""
                others = blocks.Rows(saved, np.arange(len(gallery)))
                found = _reading(own, inside, own[~inside], others, seen, seen_own, seed=seed)
            yield category, {**found, "names": names}
        del saved, others
        for file in (path, beside(path)):
            file.unlink(missing_ok=True)

    categories = {category: {"category": category} for category in (*CATEGORIES, EVERY, *kinds)}
    what = f"{name}: ghosts"
    answers = answer_each("reading", shared, categories, compute, use_shipped=use_shipped, what=what)
    return [Reading((answer,)) for answer in answers.values()]


def _reading(
    members: Any,
    inside: NDArray[np.bool_],
    rest: NDArray[Any] | None,
    gallery: blocks.Rows,
    seen: NDArray[np.float64],
    seen_members: NDArray[np.float64],
    *,
    seed: int,
) -> dict[str, NDArray[Any]]:
    """What a :class:`Reading` holds, but for names.

    `rest` are the other judged photographs; `seen` and `seen_members`, the looks of the whole gallery and of
    the members.
    """
    rows = np.flatnonzero(inside)
    order = np.random.default_rng([seed, 0]).permutation(rows)
    category = np.asarray(members[order])
    at = steps(len(order))
    shown = seen[gallery.rows]
    found = read(category, gallery, at=at, seen=shown, seed=seed)
    whole = gallery.rows[found["top"]]  # rows of the whole gallery
    found["top"] = np.where(found["top"] >= 0, whole, -1).astype(np.int32)
    for name in _BY_STEP:
        empty = np.nan if found[name].dtype.kind == "f" else -1 if name == "top" else 0
        padded = np.full((_STEPS, *found[name].shape[1:]), empty, dtype=found[name].dtype)
        padded[: len(at)] = found[name]
        found[name] = padded
    outside = {"gallery": gallery} if rest is None or not len(rest) else {"judged": rest, "gallery": gallery}
    separated = separate(category, outside, seed=seed)
    for name, values in separated.items():
        both = np.full((2, *values.shape[1:]), np.nan)
        both[2 - len(values) :] = values
        found[name] = both
    exact = category.astype(np.float64)
    likeness = exact @ exact.mean(axis=0) / np.maximum(np.linalg.norm(exact, axis=1), np.finfo(float).tiny)
    for name, chosen in zip(
        _IMAGES, (order, order[np.argsort(levels(-likeness), kind="stable")]), strict=True
    ):
        found[name] = np.pad(chosen[:TOP], (0, max(0, TOP - len(chosen))), constant_values=-1)
    found["n_features"] = np.asarray(category.shape[1])
    found["plain"] = (shown < np.median(seen_members[inside], axis=0)).mean(axis=0)
    return found


def known() -> list[Reading]:
    """What is shipped; needs no data and no network."""
    return [Reading((answer,)) for answer in shipped("reading")]


def census(readings: Sequence[Reading]) -> pd.DataFrame:
    """How many ghosts each category has, how firm they are, and what its pictures look like.

    Returns
    -------
    DataFrame
        A row for each category: ``category, images``; ``ghosts``, ``share`` of all features and
        ``of those that fire`` for some picture, ``dead``;
        ``next image``, the share that would fire for the next image, ``at most``, its upper bound, and
        ``none above``, the same of every single ghost (:class:`rarefire.ghosts.Chance`); and, by
        :data:`LOOKS`, where its median picture stands among the gallery's.
    """
    return pd.DataFrame(
        [
            {
                "category": found.category,
                "images": found.n_images,
                "ghosts": int(found.ghosts[-1]),
                "share": int(found.ghosts[-1]) / found.n_features,
                "of those that fire": int(found.ghosts[-1]) / (found.n_features - int(found.dead)),
                "dead": int(found.dead),
                **dict(zip(("next image", "at most", "none above"), found.chance, strict=True)),
                **dict(zip(LOOKS, found.plain, strict=True)),
            }
            for found in readings
        ]
    )


def controls(readings: Sequence[Reading], *, n_components: int = 6) -> pd.DataFrame:
    """Ghosts of each category, and what random features explain of them, by how many images define.

    Returns
    -------
    DataFrame
        A row for each category and number of images: ``category, m, ghosts``, their number on average over
        which images; ``control 1, ceiling 1, …``, as in :class:`Reading`, one after the other.
    """

    def columns(found: Reading) -> dict[str, Any]:
        names = [(name, j) for name in ("control", "ceiling") for j in range(n_components)]
        return {f"{name} {j + 1}": found[name][:, j] for name, j in names}

    return pd.concat(
        pd.DataFrame({"category": r.category, "m": r.m, "ghosts": r.expected, **columns(r)}) for r in readings
    )


def retrieved(readings: Sequence[Reading]) -> pd.DataFrame:
    """How well ghosts separate, beside the other queries, with Holm's adjustment over all rows.

    Returns
    -------
    DataFrame
        A row for each category, place (``judged``: against the other judged photographs; ``gallery``) and
        other query: ``category, place, query``; ``ghosts`` and ``other``, AUCs; ``D, low, high, p``, of
        their difference; ``holm``.
    """
    if not readings:
        raise InputError("there are no readings: none are shipped, or none were given.")
    rows = []
    for found in readings:
        for place, outside in enumerate(("judged", "gallery")):
            if np.isnan(found.auc[place]).all():
                continue
            for i, query in enumerate(list(QUERIES)[1:]):
                estimate, low, high, _, p = map(float, found.difference[place, i])
                rows.append(
                    {
                        "category": found.category,
                        "place": outside,
                        "query": query,
                        "ghosts": float(found.auc[place, 0]),
                        "other": float(found.auc[place, 1 + i]),
                        "D": estimate,
                        "low": low,
                        "high": high,
                        "p": p,
                    }
                )
    table = pd.DataFrame(rows)
    return table.assign(holm=inference.holm(table.p))
