"""A network of one's own, or an embedding, measured whole: what :mod:`rarefire.page.report` shows.

Every stage is kept as soon as it is there, under a key of all that determines it; the network's pass is kept
in parts of the images, pairs of layers one by one. What was stopped goes on where it was.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from rarefire import (
    curves,
    dimension,
    embeddings,
    inference,
    networks,
    poz,
    pruning,
    rdm,
    relus,
    removal,
    steps,
    store,
    transport,
)
from rarefire.curves import Curve, count, enough
from rarefire.errors import InputError, RarefireWarning, unknown
from rarefire.judgments import Judgments
from rarefire.records import ghosts
from rarefire.records.record import answer_each
from rarefire.relus import Relu
from rarefire.stimuli import Gallery, Stimuli
from rarefire.transport import Bracket

__all__ = [
    "CATEGORY",
    "LAYERS",
    "MAGNITUDE",
    "ORDERS",
    "SAMPLE",
    "SECTIONS",
    "SHARES",
    "Given",
    "Measured",
    "check_sections",
    "evenly",
    "measure",
    "part",
]

#: What a report can be made of, in its order, and the titles.
SECTIONS = {
    "silence": "How silent each layer is",
    "histogram": "Which features are rare",
    "curves": "What slices of the features carry",
    "explorer": "The explorer",
    "ghosts": "What never fires for a category",
    "dimension": "How many dimensions images span",
    "layers": "How far apart the layers are",
    "pruning": "What pruning costs",
    "people": "Whether slices predict people better",
}
#: Images of which layers are compared and pruned networks are judged, and layers, at most.
SAMPLE, LAYERS = 200, 10
#: A category's images, at least; categories, at most.
CATEGORY, _CATEGORIES = 3, 12
#: Shares of the features that were decided on beforehand; of pruning, the shares that stay.
SHARES = (0.2, 0.5, 0.8)
ORDERS = ("low", "high", "random")
_LEFT = (0.1, 0.2, 0.5, 0.8, 1.0)
#: Shares of the weights that stay when those of smallest magnitude go.
MAGNITUDE = (0.8, 0.5, 0.2, 0.1)
_CURVE = 2000  # images of a curve, at most
_STEPS = 48  # numbers of features of a curve
_DRAWS = 10  # random orders
_THUMBNAIL = 64  # pixels
_PART = 128  # images of which the network's pass is kept together
_BATCH = 32
_SPLITS = 5  # into halves, of the error of a dimension
_MOST = 2**30  # bytes of activations kept at a time
_COLUMNS = 2**15  # features at a time
_STARTS = 2  # random ones of the search for the best match of two layers
_BEST = 64  # numbers of features over which the largest t is taken

_Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Given:
    """What is to be measured.

    Attributes
    ----------
    title
        Of the network, or of the embedding.
    images
        ``(n, c, h, w)`` in [0, 1], or a gallery, which is read when it is needed; or None.
    network
        As for :func:`rarefire.embeddings.extract`, or None for an embedding alone.
    layers
        Of the network, whose features are looked at; post-ReLU.
    embedding
        ``(n, n_features)``, post-ReLU, where there is no network.
    names
        Of the images, or None.
    labels, categories
        ``(n,)``, places among the names of categories; or None and nothing.
    human
        What people say of the same images, in the same order; or None.
    seed
        Of random orders and starts.
    """

    title: str
    images: Gallery | NDArray[np.float32] | None = None
    network: nn.Module | None = None
    layers: tuple[str, ...] = (embeddings.PENULTIMATE,)
    embedding: NDArray[np.floating] | None = None
    names: tuple[str, ...] | None = None
    labels: NDArray[np.intp] | None = None
    categories: tuple[str, ...] = ()
    human: Judgments | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.network is None) == (self.embedding is None):
            raise InputError("a report is of a network or of an embedding; give one of them.")
        if self.network is not None and self.images is None:
            raise InputError("a network needs images.")
        if self.network is not None and (not self.layers or len(set(self.layers)) < len(self.layers)):
            raise InputError(f"layers are named once each, at least one; got {', '.join(self.layers)!r}.")
        if self.embedding is not None:
            poz.check_activations(self.embedding, dimensions=2)
        if self.n < 3:
            raise InputError(f"a report needs at least three images; got {self.n}.")
        for what, there in (
            ("images", self.images),
            ("names", self.names),
            ("labels", self.labels),
            ("human", self.human),
        ):
            if there is not None and len(there) != self.n:
                raise InputError(f"{what} must be {self.n:,}, one for each image; got {len(there):,}.")
        if self.labels is not None and not 0 <= self.labels.min() <= self.labels.max() < len(self.categories):
            raise InputError(f"labels are places among the {len(self.categories)} categories.")

    @property
    def n(self) -> int:
        """Number of images."""
        source: Any = self.images if self.embedding is None else self.embedding
        return len(source)

    @cached_property
    def facts(self) -> dict[str, str]:
        """Digests of what the numbers are from."""
        found = {}
        if self.network is not None:
            found["network_digest"] = networks.digest(self.network)
        if self.embedding is not None:
            found["embedding_digest"] = store.array_digest(self.embedding)
        if self.images is not None:
            is_array = isinstance(self.images, np.ndarray)
            found["images_digest"] = store.array_digest(self.images) if is_array else self.images.digest  # type: ignore[arg-type, union-attr]
        return found

    def pictures(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """``(len(rows), c, h, w)``."""
        assert self.images is not None
        return np.asarray(self.images[rows], dtype=np.float32)


@dataclass
class Measured:
    """What was measured of :class:`Given`.

    Attributes
    ----------
    given
        Of what.
    sections
        Those that were asked for.
    missing
        Section -> why it is not there, in one sentence.
    warnings
        What a reader should know, each once.
    stamp
        When, and with which versions: :func:`rarefire.store.provenance` of the first stage.
    features
        By layer, ``(n, n_features)``; channels are averaged over positions.
    apoz
        By layer with positions, ``(n_features,)``: PoZ before the average is taken.
    relus, smooth
        Every ReLU of the network; and activations that have no PoZ, with their numbers.
    thumbnails
        ``(n, c, h, w)`` uint8, or None.
    curves, people
        By layer, the arrays of that stage.
    ghosts
        By layer and category, :func:`rarefire.records.ghosts.read`; ``top`` are rows of all images.
    sample
        Rows of the images of which layers are compared and pruned networks are judged.
    dimensions
        A line for each layer.
    spaces, pairs
        By sample, of which there are two where there are enough images: layer -> distances of images; and
        the brackets of all pairs.
    widths
        By layer that is compared, its features.
    large
        Steps of the network that were too wide to be compared.
    pruned
        Arrays of that stage.
    """

    given: Given
    sections: tuple[str, ...]
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    stamp: Mapping[str, Any] = field(default_factory=dict)
    features: dict[str, NDArray[np.floating]] = field(default_factory=dict)
    apoz: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    relus: list[Relu] = field(default_factory=list)
    smooth: dict[str, int] = field(default_factory=dict)
    thumbnails: NDArray[np.uint8] | None = None
    curves: dict[str, _Arrays] = field(default_factory=dict)
    people: dict[str, _Arrays] = field(default_factory=dict)
    ghosts: dict[str, dict[str, dict[str, NDArray[Any]]]] = field(default_factory=dict)
    sample: NDArray[np.intp] = field(default_factory=lambda: np.array([], dtype=np.intp))
    dimensions: pd.DataFrame | None = None
    spaces: list[dict[str, NDArray[np.float64]]] = field(default_factory=list)
    pairs: list[dict[tuple[str, str], Bracket]] = field(default_factory=list)
    large: tuple[str, ...] = ()
    widths: dict[str, int] = field(default_factory=dict)
    pruned: _Arrays = field(default_factory=dict)

    @cached_property
    def poz(self) -> dict[str, NDArray[np.float64]]:
        """By layer, PoZ of its features over all images."""
        return {layer: poz.poz(features) for layer, features in self.features.items()}


def check_sections(sections: Sequence[str]) -> tuple[str, ...]:
    """Names of sections, in the order of the report, each once; an error names those that exist."""
    for name in sections:
        if name not in SECTIONS:
            raise unknown("section", name, [*SECTIONS])
    return tuple(name for name in SECTIONS if name in sections)


def evenly(n: int, most: int) -> NDArray[np.intp]:
    """At most so many of `n` rows, evenly spaced."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.intp)


def measure(
    given: Given,
    *,
    sections: Sequence[str] = tuple(SECTIONS),
    jobs: int | None = None,
    progress: bool = False,
) -> Measured:
    """Measure what a report shows; compute only what is not known.

    Parameters
    ----------
    given
        A network with images, or an embedding.
    sections
        Names from :data:`SECTIONS`.
    jobs
        Processes for comparing layers; by default one for each processor core.
    progress
        Show progress bars: one over all stages, and one for the stage.

    Returns
    -------
    Measured
        A section that cannot be there says why in `missing`.

    Raises
    ------
    UnknownNameError
        For a section that does not exist; the message lists those that do.
    InputError
        If a layer's features are no activations of a ReLU.
    """
    found = Measured(given, check_sections(sections))
    if not found.sections:
        raise InputError(f"a report has at least one section of {', '.join(SECTIONS)}.")
    stages: dict[str, Callable[[Measured, _Keep], None]] = {
        "features": _features,
        "curves": _each_layer(_curves, "curves"),
        "ghosts": _ghosts,
        "dimension": _dimensions,
        "layers": _layers,
        "pruning": _pruning,
        "people": _each_layer(_people, "people"),
    }
    wanted = {name: stage for name, stage in stages.items() if name in ("features", *found.sections)}
    keep = _Keep(found, jobs, progress)
    with tqdm(wanted.items(), desc="stages", disable=not progress) as bar:
        for name, stage in bar:
            bar.set_postfix_str(name)
            try:
                stage(found, keep)
            except InputError as error:
                if name == "features":
                    raise
                found.missing[name] = str(error)
    found.warnings.sort()
    for text in found.warnings:
        warnings.warn(text, RarefireWarning, stacklevel=2)
    return found


class _Keep:
    """Computes stages that are not known, and notes what they warn of."""

    def __init__(self, found: Measured, jobs: int | None, progress: bool) -> None:
        self.found, self.jobs, self.progress = found, jobs, progress

    def each(
        self,
        stage: str,
        things: Sequence[str],
        compute: Callable[[list[str]], Iterator[tuple[str, _Arrays]]],
        **facts: Any,
    ) -> dict[str, _Arrays]:
        """By thing, its arrays: known, or computed now and kept one by one."""

        def noted(missing: list[str]) -> Iterator[tuple[str, _Arrays]]:
            results = compute(missing)
            while True:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    one = next(results, None)
                if one is None:
                    return
                said = sorted({str(w.message) for w in caught if issubclass(w.category, RarefireWarning)})
                yield one[0], {**one[1], "warnings": np.array(said, dtype=np.str_)}

        shared = {**self.found.given.facts, "seed": self.found.given.seed, "stage": stage, **facts}
        own = {thing: {"of": thing} for thing in things}
        answers = answer_each("report", shared, own, noted, use_shipped=False, what=stage)
        for answer in answers.values():
            new = [str(text) for text in answer.arrays["warnings"]]
            self.found.warnings += [text for text in new if text not in self.found.warnings]
        self.found.stamp = self.found.stamp or next(iter(answers.values())).provenance
        return {thing: answer.arrays for thing, answer in answers.items()}

    def one(self, stage: str, compute: Callable[[], _Arrays], **facts: Any) -> _Arrays:
        """The same of one thing."""
        return self.each(stage, ["all"], lambda _: iter([("all", compute())]), **facts)["all"]

    def bar(self, things: Sequence[Any], what: str) -> tqdm[Any]:
        """Over the parts of a stage."""
        return tqdm(things, desc=what, leave=False, disable=not self.progress)


def _each_layer(
    compute: Callable[[Measured, str], tuple[dict[str, Any], Callable[[], _Arrays]]], name: str
) -> Callable[[Measured, _Keep], None]:
    """A stage of each layer by itself: `compute` gives its facts, and what computes it."""

    def stage(found: Measured, keep: _Keep) -> None:
        kept = getattr(found, name)
        for layer in keep.bar([*found.features], name):
            facts, work = compute(found, layer)
            kept[layer] = keep.one(name, work, layer=layer, **facts)

    return stage


# --- features ------------------------------------------------------------------------------------


def part(network: nn.Module, images: NDArray[np.float32], *, layers: Sequence[str]) -> dict[str, Any]:
    """What a report takes from the network's pass over some of the images.

    Parameters
    ----------
    network, layers
        As of :class:`Given`.
    images
        ``(n, c, h, w)``.

    Returns
    -------
    dict
        ``relus``, a list of :class:`rarefire.relus.Relu`; ``smooth``, the ``others`` of
        :class:`rarefire.relus.Watched`; and by place of the layer ``features_0``, … ``(n, n_features)``,
        channels averaged over positions, ``zeros_0`` ``(n_features,)``, how many of them were 0, and
        ``positions_0``.
    """
    counted, smooth, rows = list[list[Relu]](), dict[str, int](), list[dict[str, Any]]()
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        with relus.watched(network) as seen:
            each = dict(
                embeddings.each(network, batch, layers=list(layers), spatial="keep", batch_size=_BATCH)
            )
        counted.append(seen.of(len(batch)))
        smooth = seen.others
        row: dict[str, Any] = {}
        for i, layer in enumerate(layers):
            values = each[layer]
            values = values.reshape(*values.shape[:2], -1)
            poz.check_activations(values[..., None], hint=networks.about_relus(network))
            row[f"features_{i}"] = values.mean(axis=2)
            row[f"zeros_{i}"] = np.count_nonzero(values == 0, axis=(0, 2))
            row[f"positions_{i}"] = values.shape[2]
        rows.append(row)
    joined: dict[str, Any] = {"relus": relus.added(counted), "smooth": smooth}
    for i in range(len(layers)):
        joined[f"features_{i}"] = np.concatenate([row[f"features_{i}"] for row in rows])
        joined[f"zeros_{i}"] = np.sum([row[f"zeros_{i}"] for row in rows], axis=0)
        joined[f"positions_{i}"] = np.asarray(rows[0][f"positions_{i}"])
    return joined


def _features(found: Measured, keep: _Keep) -> None:
    given = found.given
    parts = [str(start) for start in range(0, given.n, _PART)]
    found.sample = evenly(given.n, SAMPLE)

    def compute(missing: list[str]) -> Iterator[tuple[str, _Arrays]]:
        for start in keep.bar(missing, "images"):
            shown = given.pictures(np.arange(int(start), min(int(start) + _PART, given.n)))
            arrays: dict[str, Any] = {"thumbnails": _thumbnails(shown)}
            if given.network is not None:
                own = part(given.network, shown, layers=given.layers)
                arrays |= _packed(own.pop("relus")) | {"smooth": _words(own.pop("smooth"))} | own
            yield start, arrays

    if given.images is not None:
        found_parts = [*keep.each("features", parts, compute, layers=list(given.layers), n=given.n).values()]
        found.thumbnails = np.concatenate([p["thumbnails"] for p in found_parts])
    if given.embedding is not None:
        found.features = {given.title: given.embedding}
        return
    found.relus = relus.added([_unpacked(p) for p in found_parts])
    found.smooth = {
        str(name): int(n) for name, n in (str(text).split(" ") for text in found_parts[0]["smooth"])
    }
    for i, layer in enumerate(given.layers):
        found.features[layer] = np.concatenate([p[f"features_{i}"] for p in found_parts])
        positions = int(found_parts[0][f"positions_{i}"])
        if positions > 1:
            zeros = np.sum([p[f"zeros_{i}"] for p in found_parts], axis=0)
            found.apoz[layer] = zeros / (given.n * positions)


def _words(numbers: Mapping[str, int]) -> NDArray[np.str_]:
    return np.array([f"{name} {n}" for name, n in numbers.items()], dtype=np.str_)


def _packed(found: Sequence[Relu]) -> dict[str, Any]:
    return {
        "relu_names": np.array([r.name for r in found], dtype=np.str_),
        "relu_functions": np.array([r.function for r in found], dtype=np.str_),
        "relu_sizes": np.array([(r.n_images, r.positions, len(r.zeros)) for r in found]).reshape(-1, 3),
        "relu_zeros": np.concatenate([r.zeros for r in found] or [np.zeros(0, dtype=np.int64)]),
        "relu_silent": np.concatenate([r.silent for r in found] or [np.zeros(0, dtype=np.int64)]),
    }


def _unpacked(arrays: _Arrays) -> list[Relu]:
    sizes = arrays["relu_sizes"].astype(int)
    ends: Any = np.cumsum(sizes[:, 2])[:-1] if len(sizes) else []
    zeros, silent = (np.split(arrays[f"relu_{what}"], ends) for what in ("zeros", "silent"))
    words = zip(arrays["relu_names"], arrays["relu_functions"], strict=True)
    return [
        Relu(str(name), str(function), int(size[0]), int(size[1]), zeros[i], silent[i])
        for i, ((name, function), size) in enumerate(zip(words, sizes, strict=True))
    ]


def _thumbnails(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    shown = torch.from_numpy(np.ascontiguousarray(images)).clamp(0, 1)
    shown = shown if shown.shape[1] in (1, 3) else shown[:, :1]
    factor = min(1, _THUMBNAIL / max(shown.shape[2:]))
    if factor < 1:
        size = [max(1, round(side * factor)) for side in shown.shape[2:]]
        shown = F.interpolate(shown, size=size, mode="bilinear", antialias=True)
    return (255 * shown).round().clamp(0, 255).to(torch.uint8).numpy()


# --- curves --------------------------------------------------------------------------------------


def _grid(n_features: int) -> list[int]:
    """Numbers of features at which curves are evaluated; those of :data:`SHARES` and one more among them."""
    even = np.rint(np.linspace(1, n_features, min(_STEPS, n_features))).astype(int).tolist()
    return sorted({*even, *(count(share, n_features) for share in (0.05, 0.1, *SHARES))})


def _curves(found: Measured, layer: str) -> tuple[dict[str, Any], Callable[[], _Arrays]]:
    features, rates, seed = found.features[layer], found.poz[layer], found.given.seed
    rows = evenly(len(features), _CURVE)

    def compute() -> _Arrays:
        own = np.asarray(features[rows], dtype=np.float64)
        arrays: dict[str, Any] = {"n_images": np.asarray(len(rows))}
        for group, kept in (("", np.arange(len(rates))), ("firing_", np.flatnonzero(rates < 1))):
            if len(kept) < 2:
                raise InputError(f"{len(kept)} features of {layer} fire; curves need at least two.")
            e, k, rng = own[:, kept], _grid(len(kept)), np.random.default_rng(seed)
            orders = {first: poz.order(rates[kept], first=first) for first in ("low", "high")}
            arrays[f"{group}k"] = np.array(k)
            for first, order in orders.items():
                arrays[f"{group}{first}"] = _r2(curves.geometry_curve(e, order, k=k), len(rows))
                if not group:
                    cosine = curves.geometry_curve(e, order, k=k, metric="cosine")
                    arrays[f"{first}_cosine"] = _r2(cosine, len(rows))
                    arrays[f"{first}_silenced"] = _r2(curves.silenced_curve(e, order, k=k), len(rows))
            drawn = [
                _r2(curves.geometry_curve(e, rng.permutation(len(kept)), k=k), len(rows))
                for _ in range(_DRAWS)
            ]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # undefined for all orders
                arrays[f"{group}random"] = np.nanquantile(drawn, (0.05, 0.5, 0.95), axis=0)
        return arrays

    return {}, compute


def _r2(curve: Curve, n_images: int) -> NDArray[np.float64]:
    """R² where enough images have a similarity."""
    return np.where(enough(curve.n_images, n_images), curve.r2, np.nan)


# --- ghosts --------------------------------------------------------------------------------------


def _ghosts(found: Measured, keep: _Keep) -> None:
    given = found.given
    if given.labels is None:
        raise InputError(
            "ghosts are those of a category: give images in a folder for each category, or name one for each "
            "image with --labels."
        )
    sizes = np.bincount(given.labels, minlength=len(given.categories))
    large = [c for c in np.flatnonzero(sizes >= CATEGORY) if given.n - sizes[c] >= CATEGORY]
    if not large:
        raise InputError(
            f"none of the {len(given.categories):,} categories has {CATEGORY} images and {CATEGORY} others "
            f"beside it (the largest has {sizes.max()} of {given.n}). Name larger categories with --labels."
        )
    chosen = sorted(sorted(large, key=lambda c: (-sizes[c], c))[:_CATEGORIES])
    labels = given.labels
    for layer, features in found.features.items():

        def compute(
            missing: list[str], features: NDArray[np.floating] = features
        ) -> Iterator[tuple[str, _Arrays]]:
            for name in keep.bar(missing, "ghosts"):
                inside = labels == given.categories.index(name)
                rows = np.random.default_rng(given.seed).permutation(np.flatnonzero(inside))
                others = np.flatnonzero(~inside)
                at = ghosts.steps(len(rows))
                at = [at[i] for i in sorted({0, len(at) // 3, 2 * len(at) // 3, len(at) - 1})]
                one = ghosts.read(features[rows], features[others], at=at, seed=given.seed)
                top = np.where(one["top"] >= 0, others[one["top"]], -1).astype(np.int32)
                yield name, {**one, "top": top, "rows": rows[: ghosts.TOP]}

        found.ghosts[layer] = {
            name: dict(arrays)
            for name, arrays in keep.each(
                "ghosts",
                [given.categories[c] for c in chosen],
                compute,
                layer=layer,
                labels=store.array_digest(np.asarray(labels, dtype=np.int64)),
                categories=list(given.categories),
            ).items()
        }


# --- dimension and the layer map -----------------------------------------------------------------


def _taken(found: Measured) -> list[str]:
    """At most :data:`LAYERS` steps of the network, evenly; those that were named, if these are enough."""
    given = found.given
    if given.network is None:
        raise InputError("layers are those of a network: name one with --network.")
    if len(given.layers) >= 3:
        taken = list(given.layers)
    else:
        taken, large = steps.find(given.network, given.pictures(np.arange(2)))
        found.large = tuple(large)
    return [taken[i] for i in evenly(len(taken), LAYERS)] if taken else []


def _geometry(found: Measured, keep: _Keep) -> dict[str, NDArray[np.float64]]:
    """By layer, where the images of the sample lie: ``(n, up to n)``, in one visit of the network."""
    given, taken = found.given, _taken(found)
    shown = given.pictures(found.sample)

    def compute(missing: list[str]) -> Iterator[tuple[str, _Arrays]]:
        options: dict[str, Any] = {"layers": missing, "batch_size": _BATCH, "most": _MOST}
        each = embeddings.each(given.network, shown, **options)  # type: ignore[arg-type]
        bar = tqdm(each, total=len(missing), desc="layers", leave=False, disable=not keep.progress)
        for layer, values in bar:
            rows = values.reshape(len(values), -1)
            yield layer, {"features": np.asarray(rows.shape[1]), "points": _turned(rows)}

    kept = keep.each("geometry", taken, compute, n=len(shown))
    found.widths = {layer: int(kept[layer]["features"]) for layer in taken}
    return {layer: kept[layer]["points"] for layer in taken}


def _turned(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """The same points, turned so that they have no more coordinates than there are points.

    Distances, and what else hangs on them alone, are the same but for rounding; equal points stay equal.
    """
    n, width = rows.shape
    if width <= 4 * n:
        return np.asarray(rows, dtype=np.float64)
    gram = np.zeros((n, n))
    for start in range(0, width, _COLUMNS):
        columns = rows[:, start : start + _COLUMNS].astype(np.float64)
        columns -= columns.mean(axis=0)
        gram += columns @ columns.T
    values, vectors = np.linalg.eigh(gram)
    points = vectors * np.sqrt(np.maximum(values, 0))
    first: dict[bytes, int] = {}
    for i, row in enumerate(np.ascontiguousarray(rows)):
        points[i] = points[first.setdefault(row.tobytes(), i)]
    return np.asarray(points)


def _dimensions(found: Measured, keep: _Keep) -> None:
    given = found.given
    if given.n < dimension.LEAST:
        raise InputError(f"a dimension is estimated from at least {dimension.LEAST} images; got {given.n}.")
    spaces: Mapping[str, NDArray[np.floating]] = found.features
    if given.network is not None:
        spaces = _geometry(found, keep)
    else:
        found.widths = {given.title: found.features[given.title].shape[1]}
    lines = []
    for layer, points in spaces.items():
        arrays = keep.one("dimension", partial(_dimension, points, given.seed), layer=layer, n=len(points))
        numbers = {name: arrays[name].item() for name in _ESTIMATED}
        lines.append({"layer": layer, "images": len(points), "features": found.widths[layer], **numbers})
    found.dimensions = pd.DataFrame(lines)


_ESTIMATED = ("two_nn", "two_nn_se", "participation_ratio")


def _dimension(points: NDArray[np.floating], seed: int) -> dict[str, NDArray[Any]]:
    local = dimension.two_nn(points)
    few = len(points) < 2 * dimension.LEAST or not np.isfinite(local.dimension)
    rng = np.random.default_rng(seed)
    se = np.nan if few else dimension.halves_error(points, rng=rng, n_splits=_SPLITS)
    values = (local.dimension, se, dimension.participation_ratio(points).dimension)
    return {name: np.asarray(value) for name, value in zip(_ESTIMATED, values, strict=True)}


def _layers(found: Measured, keep: _Keep) -> None:
    given = found.given
    taken = _taken(found)
    if len(taken) < 3:
        raise InputError(
            f"a map is of at least three layers; {len(taken)} of the network's steps can be taken by "
            "themselves. Name more with --layer."
        )
    if given.n < 2 * transport.LEAST:
        raise InputError(f"a map needs at least {2 * transport.LEAST} images; got {given.n}.")
    points = _geometry(found, keep)
    every = np.arange(len(found.sample))
    samples = [every[::2], every[1::2]] if len(every) >= 40 else [every]
    if given.labels is not None and len(given.categories) <= _CATEGORIES:
        labels = given.labels[found.sample]
        samples = [rows[np.argsort(labels[rows], kind="stable")] for rows in samples]
    for rows in samples:
        space = {layer: transport.distances(own[rows]) for layer, own in points.items()}
        digest = store.array_digest(rows)
        wanted = {f"{i} {j}": (a, taken[j]) for i, a in enumerate(taken) for j in range(i + 1, len(taken))}

        def pairs(
            missing: list[str],
            space: dict[str, NDArray[np.float64]] = space,
            wanted: dict[str, tuple[str, str]] = wanted,
        ) -> Iterator[tuple[str, _Arrays]]:
            places = {pair: key for key, pair in wanted.items()}
            options: dict[str, Any] = {"seed": given.seed, "n_random": _STARTS, "jobs": keep.jobs}
            each = transport.each_pair(space, pairs=[wanted[key] for key in missing], **options)
            bar = tqdm(each, total=len(missing), desc="pairs", leave=False, disable=not keep.progress)
            for pair, one in bar:
                yield places[pair], {**one.arrays(), "coupling": one.coupling}

        brackets = keep.each("pairs", [*wanted], pairs, layers=taken, rows=digest)
        found.spaces.append(space)
        found.pairs.append({wanted[key]: _bracket(arrays) for key, arrays in brackets.items()})


def _bracket(arrays: _Arrays) -> Bracket:
    numbers = {name: float(arrays[name]) for name in ("slb", "lower", "upper", "identity", "chance")}
    return Bracket(**numbers, start="", starts={}, coupling=np.asarray(arrays["coupling"]))


# --- pruning -------------------------------------------------------------------------------------


def _pruning(found: Measured, keep: _Keep) -> None:
    given = found.given
    network = given.network
    if network is None:
        raise InputError("what pruning costs is asked of a network: name one with --network.")
    layer = given.layers[0]
    rates, features = found.poz[layer], found.features[layer]
    n_images = len(found.sample)
    if n_images < 4:
        raise InputError(f"pruned networks are judged on at least four images; got {n_images}.")

    def compute() -> _Arrays:
        shown = given.pictures(found.sample)
        nobody = np.zeros(n_images, dtype=np.int64)
        judged = Stimuli("report", "sample", shown, nobody, ("",), "")
        rng = np.random.default_rng(given.seed)
        orders = {
            "low": poz.order(rates, first="low"),
            "high": poz.order(rates, first="high"),
            "random": rng.permutation(len(rates)),
        }
        sizes = [count(share, len(rates)) for share in _LEFT]
        sets = np.zeros((len(orders), len(sizes), len(rates)), dtype=bool)
        for i, order in enumerate(orders.values()):
            for j, k in enumerate(sizes):
                sets[i, j, order[:k]] = True
        answers = removal.answers(
            network, judged, layer=layer, kept=sets.reshape(-1, len(rates)), batch_size=_BATCH
        )
        own = np.asarray(features[found.sample], dtype=np.float64)
        each = [curves.geometry_curve(own, order, k=sorted({*sizes})) for order in orders.values()]
        geometry = [_r2(curve, n_images)[np.searchsorted(curve.k, sizes)] for curve in each]
        whole = rdm.rdm(own)
        smaller, alike = [], []
        masks = pruning.full_masks(network)
        for share in MAGNITUDE:
            kept = pruning.magnitude_masks(
                network.state_dict(), masks, rate=1 - share, last_rate=1 - share, scope="layer"
            )
            sparse = copy.deepcopy(network)
            parameters = dict(sparse.named_parameters())
            with torch.no_grad():
                for name, mask in kept.items():
                    parameters[name].mul_(mask)
            options: dict[str, Any] = {"layers": [layer, ""], "spatial": "keep", "batch_size": _BATCH}
            after = dict(embeddings.each(sparse, shown, **options))
            smaller.append(after[""].argmax(axis=1))
            left = after[layer].reshape(*after[layer].shape[:2], -1).mean(axis=2)
            alike.append(_alike(whole, rdm.rdm(left)))
        return {
            "answers": answers.reshape(len(orders), len(sizes), n_images),
            "geometry": np.array(geometry),
            "k": np.array(sizes),
            "magnitude": np.array(smaller),
            "magnitude_geometry": np.array(alike),
        }

    facts = {"layer": layer, "left": list(_LEFT), "magnitude": list(MAGNITUDE)}
    arrays = dict(keep.one("pruning", compute, **facts))
    with torch.inference_mode():
        outputs = network(torch.from_numpy(given.pictures(found.sample[:1]))).shape[1]
    labels = given.labels
    if labels is not None and outputs == len(given.categories) > 1:
        arrays["right"] = (arrays["answers"] == labels[found.sample]).mean(axis=-1)
        arrays["magnitude_right"] = (arrays["magnitude"] == labels[found.sample]).mean(axis=-1)
    arrays["n_outputs"] = np.asarray(outputs)
    arrays["same"] = (arrays["answers"] == arrays["answers"][0, -1]).mean(axis=-1)
    arrays["magnitude_same"] = (arrays["magnitude"] == arrays["answers"][0, -1]).mean(axis=-1)
    arrays["left"] = np.array(_LEFT)
    found.pruned = arrays


def _alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """R² of two RDMs over the pairs that both have; NaN where fewer than half are there."""
    a, b = rdm.condensed(first), rdm.condensed(second)
    both = np.isfinite(a) & np.isfinite(b)
    if both.mean() < 0.5 or min(np.ptp(a[both]), np.ptp(b[both])) == 0:
        return math.nan
    return float(np.corrcoef(a[both], b[both])[0, 1] ** 2)


# --- people --------------------------------------------------------------------------------------


def _people(found: Measured, layer: str) -> tuple[dict[str, Any], Callable[[], _Arrays]]:
    given = found.given.human
    if given is None:
        raise InputError(
            "people are there where you say what they judged: --human, an RDM, a stack of one for each "
            "person, "
            "or a table of ratings of the same images."
        )
    features, rates, seed = found.features[layer], found.poz[layer], found.given.seed

    def compute() -> _Arrays:
        e = np.asarray(features, dtype=np.float64)
        human: Any = given.human if given.subjects is None else given.subjects
        one: Any = "jackknife" if given.subjects is None else "subjects-and-images"
        k = _grid(len(rates))
        best = [k[i] for i in evenly(len(k), _BEST)]
        rng = np.random.default_rng(seed)
        arrays: dict[str, Any] = {"k": np.array(k)}
        for group, kept in (("", np.arange(len(rates))), ("firing_", np.flatnonzero(rates < 1))):
            own = e[:, kept]
            steps_ = k if not group else _grid(len(kept))
            arrays[f"{group}k"] = np.array(steps_)
            for first in ("low", "high"):
                order = poz.order(rates[kept], first=first)
                curve = curves.rdm_curve(own, given.human, order, k=steps_)
                arrays[f"{group}{first}"] = np.where(enough(curve.n_images, len(e)), curve.r, np.nan)
                if group:
                    continue
                sizes = [count(share, len(rates)) for share in SHARES]
                tests = [_row(own, human, order, k=size, method=one) for size in sizes]
                arrays[f"tests_{first}"] = np.array(tests)
                without = inference.corrected_jackknife(
                    own, order, rdm=human, k=sorted({*sizes}), silenced=True
                )
                places, silent = np.searchsorted(without.k, sizes), without.estimate("difference")
                columns = (silent.estimate, silent.low, silent.high, silent.p)
                arrays[f"silenced_{first}"] = np.array(columns).T[places]
                options: dict[str, Any] = {"method": "maximum", "alternative": "greater", "rng": rng}
                arrays[f"largest_{first}"] = np.array(_row(own, human, order, k=best, **options))
        drawn = [curves.rdm_curve(e, given.human, rng.permutation(len(rates)), k=k).r for _ in range(_DRAWS)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            arrays["random"] = np.nanquantile(drawn, (0.05, 0.5, 0.95), axis=0)
        ceiling = given.ceiling
        arrays["ceiling"] = np.array([math.nan] * 2 if ceiling is None else [ceiling.low, ceiling.high])
        return arrays

    return {"human": given.digest}, compute


def _row(*arguments: Any, **options: Any) -> list[float]:
    """Of :func:`rarefire.inference.change_of_prediction`: D, low, high, p, k; NaN where it is undefined."""
    try:
        test = inference.change_of_prediction(*arguments, **options)
    except InputError:
        return [math.nan] * 4 + [float(np.max(options["k"]))]
    return [test.estimate, test.low, test.high, test.p, float(test.k)]
