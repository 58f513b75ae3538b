"""People predicted by slices of a network's features: all that is measured of one network and one set.

One code path for every profile of the book, as in :mod:`rarefire.studies`: shipped, else cached, else
computed from judgments, images and network.
"""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from rarefire import blocks, embeddings, inference, networks, poz, selection, store
from rarefire.curves import count, rdm_curve
from rarefire.errors import InputError, RarefireWarning
from rarefire.judgments import Judgments
from rarefire.orders import rdm_curves
from rarefire.rdm import Metric, check_embedding, similarities
from rarefire.reweighting import LEAST_IMAGES, reweighted
from rarefire.rounding import SAME
from rarefire.simulations import Sample, differences_over_folds, paired_t_over_folds

__all__ = [
    "KINDS",
    "SHARES",
    "Prediction",
    "View",
    "beforehand",
    "find",
    "find_sample",
    "measure",
    "partial",
    "predict",
    "sample",
    "ship",
    "verdicts",
    "views",
    "weights",
]

_VERSION = 2  # of the measurement: raise it when the same numbers would come out otherwise
_GAIN = ("D", "low", "high", "se", "p")
_STEPS = 512  # of a recorded curve; the best k is sought among all
_TIES = 100  # random orders of features with equal PoZ
_N_BOOT = 1000

#: Random orders, for tests.
ORDERS = 999
#: Random orders, drawn whole.
BAND = 50
#: Seeds and folds of the naive test, as in the authors' later code.
NAIVE = (8, 5)
#: PoZ orders and metrics: name -> (what comes first, metric).
KINDS: dict[str, tuple[Any, Metric]] = {
    "low": ("low", "correlation"),
    "high": ("high", "correlation"),
    "low_cosine": ("low", "cosine"),
    "high_cosine": ("high", "cosine"),
}
#: Shares of the features that were decided on beforehand: the first 20 % are the paper's.
SHARES = (0.2, 0.5, 0.8)
#: Shares at which features are re-weighted.
RIDGE_SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
#: Columns of a recorded test.
COLUMNS = ("estimate", "low", "high", "se", "df", "p", "r_kept", "r_all")


@dataclass(frozen=True)
class View:
    """A layer, as features.

    Attributes
    ----------
    name
        ``"pooled"``, ``"channels"``, ``"positions"``, or ``"features"`` for a layer without positions.
    embedding
        ``(n_images, n_features)``, post-ReLU.
    silent
        ``(n_images, n_features)``, how many zeros each image has in each feature; for channels, over
        positions.
    positions
        Zeros that an image can have in a feature.
    """

    name: str
    embedding: NDArray[np.float32]
    silent: NDArray[np.integer | np.bool_]
    positions: int = 1

    @property
    def poz(self) -> NDArray[np.float64]:
        """``(n_features,)``, what the features are ordered by; for channels the APoZ."""
        return np.asarray(self.silent.sum(axis=0) / (len(self.silent) * self.positions))


def views(
    network: nn.Module,
    images: embeddings.Images,
    *,
    layer: str = embeddings.PENULTIMATE,
    batch_size: int = 32,
) -> list[View]:
    """What a layer can be taken for.

    Parameters
    ----------
    network, images, layer, batch_size
        As for :func:`rarefire.embeddings.extract`.

    Returns
    -------
    list of View
        For a layer without positions, ``features`` alone. For a convolutional one: ``pooled``, channels
        averaged over positions, by the share of images for which that mean is 0; ``channels``, the same
        features by their APoZ, the share of zeros over images and positions (Hu et al. 2016);
        ``positions``, every position of every channel a feature.
    """
    activations = embeddings.extract(network, images, layer=layer, spatial="keep", batch_size=batch_size)
    poz.poz(activations)  # refuses what is not post-ReLU, and other shapes
    if activations.ndim == 2:
        return [View("features", activations, activations == 0)]
    pooled, flat = activations.mean(axis=(2, 3)), activations.reshape(len(activations), -1)
    zeros = np.count_nonzero(activations == 0, axis=(2, 3))
    return [
        View("pooled", pooled, pooled == 0),
        View("channels", pooled, zeros, activations[0, 0].size),
        View("positions", flat, flat == 0),
    ]


@dataclass(frozen=True)
class Prediction:
    """One view of one network on one set of judgments, measured.

    Attributes
    ----------
    answer
        The numbers, by the names that :func:`measure` gives them, and how they came about.
    """

    answer: store.Answer

    @property
    def judgments(self) -> str:
        """Name of the judgments."""
        return str(self.answer.provenance["facts"]["judgments"])

    @property
    def network(self) -> str:
        """Name of the network."""
        return str(self.answer.provenance["facts"]["network"])

    @property
    def view(self) -> str:
        """Name of the view."""
        return str(self.answer.provenance["facts"]["view"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.answer.arrays[name]

    @property
    def n_features(self) -> int:
        """Features in all."""
        return int(self["k"][-1])

    @property
    def fraction(self) -> NDArray[np.float64]:
        """``(n_steps,)``, share of the features at the steps of the curves."""
        return np.asarray(self["k"] / self.n_features)

    @property
    def to_subjects(self) -> float:
        """R with the mean RDM times this is the mean r with single subjects; 1 where there are none."""
        scale = float(self["ceiling"][1])
        return scale if np.isfinite(scale) else 1.0

    @property
    def has_subjects(self) -> bool:
        """Whether single subjects were taken to vary."""
        return bool(np.isfinite(self["subjects_low"]).all())

    def r(self, name: str, *, least: float = 0.5) -> NDArray[np.float64]:
        """One of the recorded curves, r with the mean RDM ``(n_steps,)``.

        NaN where fewer than `least` of the images have a defined similarity.
        """
        r = np.array(self[name], dtype=np.float64)
        counted = self.answer.arrays.get(f"n_images_{name}")
        if counted is not None:
            r[counted < least * counted[-1]] = np.nan
        return r

    def peak(self, kind: str) -> tuple[float, float]:
        """Share of the features and r with the mean RDM where the curve is highest, over every k."""
        k, r = self[f"best_{kind}"]
        return float(k / self.n_features), float(r)

    def at(self, name: str, share: float) -> float:
        """The curve's r at the recorded step nearest to a share of the features."""
        return float(self.r(name)[int(np.argmin(np.abs(self.fraction - share)))])

    def test(self, name: str) -> dict[str, float]:
        """A recorded test by its name, its numbers by :data:`COLUMNS`, in units of r with the mean RDM."""
        scale = 1 / self.to_subjects if name.startswith("subjects") else 1.0
        return _scaled(self[name], scale)

    def table(self) -> pd.DataFrame:
        """The recorded curves: ``view, k``, and r with the mean RDM by the name of each order and metric."""
        names = (*KINDS, *poz.STATISTICS)
        return pd.DataFrame({"view": self.view, "k": self["k"], **{name: self.r(name) for name in names}})

    def stamp(self) -> str:
        """Where the numbers come from: a sentence for a caption."""
        return f"{self.network}, {self.answer.origin}"


def predict(
    given: Judgments,
    network: nn.Module,
    *,
    name: str,
    layer: str = embeddings.PENULTIMATE,
    seed: int = 0,
    use_shipped: bool = True,
    progress: bool = True,
) -> list[Prediction]:
    """Measure how slices of a network's features predict people; compute only what is not known.

    Parameters
    ----------
    given
        Judgments with images.
    network, layer
        As for :func:`rarefire.embeddings.extract`.
    name
        Of the network, for captions.
    seed
        Of random orders and partitions.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show progress bars.
    """
    if given.images is None:
        raise InputError(f"the images of {given.name!r} are not at hand; a network needs them.")
    shared = {**_facts(given, network, name, layer), "seed": seed, "version": _VERSION}
    made: dict[str, View] = {}

    def compute(which: str) -> dict[str, NDArray[Any]]:
        if not made:
            made.update({view.name: view for view in views(network, given.images, layer=layer)})  # type: ignore[arg-type]
        return measure(made[which], given, seed=seed, progress=progress)

    one = embeddings.extract(network, given.images.images[:1], layer=layer, spatial="keep")
    found = []
    for which in ("features",) if one.ndim == 2 else ("pooled", "channels", "positions"):
        facts = {**shared, "view": which}
        answer = store.recall("prediction", facts, lambda w=which: compute(w), use_shipped=use_shipped)  # type: ignore[misc]
        assert answer is not None  # it is computed where it is not known
        found.append(Prediction(answer))
    return found


def sample(
    given: Judgments,
    network: nn.Module,
    *,
    name: str,
    layer: str = embeddings.PENULTIMATE,
    use_shipped: bool = True,
) -> store.Answer:
    """A layer's embedding, small enough to travel in a page: channels averaged over positions.

    Parameters
    ----------
    given, network, name, layer, use_shipped
        As for :func:`predict`.

    Returns
    -------
    Answer
        With ``embedding (n, F)`` in half precision; ``labels (n,)`` and ``categories (C,)`` of the images.
    """
    if given.images is None:
        raise InputError(f"the images of {given.name!r} are not at hand; a network needs them.")
    images = given.images

    def compute() -> dict[str, NDArray[Any]]:
        embedding = views(network, images, layer=layer)[0].embedding
        return {
            "embedding": embedding.astype(np.float16),
            "labels": images.labels,
            "categories": np.array(images.class_names),
        }

    answer = store.recall(
        "prediction-sample", _facts(given, network, name, layer), compute, use_shipped=use_shipped
    )
    assert answer is not None  # it is computed where it is not known
    return answer


def find_sample(judgments: str) -> store.Answer | None:
    """The sample that is shipped for a set of judgments; needs no data and no network."""
    known = store.shipped("prediction-sample")
    return next((a for a in known if a.provenance["facts"]["judgments"] == judgments), None)


def _facts(given: Judgments, network: nn.Module, name: str, layer: str) -> dict[str, Any]:
    return {
        "judgments": given.name,
        "judgments_digest": given.digest,
        "network": name,
        "weights_digest": networks.digest(network),
        "layer": layer,
    }


def find(judgments: str) -> list[Prediction]:
    """What is shipped for a set of judgments, every view of one network; needs no data and no network."""
    current = {"judgments": judgments, "version": _VERSION}
    answers = [a for a in store.shipped("prediction") if current.items() <= a.provenance["facts"].items()]
    found = [Prediction(answer) for answer in answers]
    return [p for p in found if p.network == found[0].network]


def ship(predictions: Sequence[Prediction], path: str | Path, *, sample: store.Answer) -> Path:
    """Write predictions as a file of shipped results; the sample goes into ``<name>-sample.npz``."""
    path = Path(path)
    store.pack(path.with_stem(f"{path.stem}-sample"), [sample])
    return store.pack(path, [p.answer for p in predictions])


def verdicts(predictions: Sequence[Prediction], *, kinds: Sequence[str] = ("low", "high")) -> pd.DataFrame:
    """The naive verdict and the valid one for several predictions, with Holm's adjustment over all.

    Parameters
    ----------
    predictions
        The family.
    kinds
        Of :data:`KINDS`.

    Returns
    -------
    DataFrame
        A row for each prediction and kind: ``judgments, network, view, kind``. Then from the naive to the
        valid, in units of r with the mean RDM: ``peak``, the whole curve's best k; ``gain``, r there − r
        of all; ``naive p`` of a paired t test of the gain over folds of the same images; ``k``, the
        median number of features chosen on other images (:func:`rarefire.selection.cross_fitted`);
        ``D images`` and ``p images``, what it gains where other images vary; ``D, low, high, p``, where
        other subjects vary too (the same again where there are none); and ``holm``.
    """
    rows = []
    for found in predictions:
        prefix = "subjects" if found.has_subjects else "cross"
        for kind in kinds:
            images, valid = found.test(f"cross_{kind}"), found.test(f"{prefix}_{kind}")
            rows.append(
                {
                    "judgments": found.judgments,
                    "network": found.network,
                    "view": found.view,
                    "kind": kind,
                    "peak": int(found[f"best_{kind}"][0]),
                    "gain": float(found[f"best_{kind}"][1] - found[kind][-1]),
                    "naive p": float(found[f"naive_{kind}"][1]),
                    "k": float(np.median(found[f"cross_k_{kind}"])),
                    "D images": images["estimate"],
                    "p images": images["p"],
                    "D": valid["estimate"],
                    "low": valid["low"],
                    "high": valid["high"],
                    "p": valid["p"],
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(holm=inference.holm(table["p"]))


def beforehand(predictions: Sequence[Prediction], *, kinds: Sequence[str] = ("low", "high")) -> pd.DataFrame:
    """The tests at :data:`SHARES`, numbers of features that were decided on beforehand.

    Parameters
    ----------
    predictions, kinds
        As for :func:`verdicts`.

    Returns
    -------
    DataFrame
        A row for each prediction, kind and share: ``view, kind, share``; :data:`COLUMNS`, in units of r
        with the mean RDM; ``chance``, p of the order against random ones; and both p with Holm's
        adjustment over the rows, each by itself, ``holm`` and ``chance holm``.
    """
    rows = [
        {
            "view": found.view,
            "kind": kind,
            "share": share,
            **_scaled(found[f"advance_{kind}"][place], 1 / found.to_subjects),
            "chance": float(found[f"chance_{kind}"][place]),
        }
        for found in predictions
        for kind in kinds
        for place, share in enumerate(SHARES)
    ]
    table = pd.DataFrame(rows)
    return table.assign(**{"holm": inference.holm(table.p), "chance holm": inference.holm(table.chance)})


def weights(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """What ridge weights add to all features on held-out images: ``view, D, low, high, se, p, holm``."""
    rows = [{"view": p.view, **dict(zip(_GAIN, p["weights"][-1], strict=True))} for p in predictions]
    table = pd.DataFrame(rows)
    return table.assign(holm=inference.holm(table.p))


def measure(
    view: View, given: Judgments, *, seed: int = 0, progress: bool = False
) -> dict[str, NDArray[Any]]:
    """Everything that the book shows of one view; r is Pearson's, with the mean RDM unless said otherwise.

    Parameters
    ----------
    view
        The features and their PoZ.
    given
        Judgments of the same images, in the same order.
    seed
        Of random orders and partitions.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        - ``k (S,)``: numbers of features at which curves are kept, up to 512 of them.
        - ``low``, ``high``, ``low_cosine``, ``high_cosine (S,)``: PoZ orders, with ``n_images_<name>``;
          ``mean``, ``sd``, ``entropy (S,)``: most first; ``random (3, S)``: 5, 50 and 95 % of 50 orders.
        - For each of the four: ``best_<name> (2,)``, k and r at the peak over every k;
          ``cross_<name> (8,)`` and ``cross_k_<name>``, order and k chosen on other images
          (:data:`COLUMNS`), ``subjects_<name>``, ``subjects_k_<name>`` the same with subjects;
          ``advance_<name> (3, 8)``, D at :data:`SHARES`: the two-factor bootstrap where there are
          subjects (r averaged over them), else the jackknife; ``naive_<name> (2,)``, mean D and p of a
          paired t test over folds of the same images at the peak. NaN where there is nothing to test.
        - ``chance_low``, ``chance_high (3,)``: p of the order against random ones at :data:`SHARES`.
        - ``ties (3, 2)``: 5 and 95 % of r at :data:`SHARES`, low→high, with equal PoZ in random order;
          ``tied``: how many features share the PoZ of another.
        - ``ridge_k (R,)``; ``plain``, ``ridge (R,)``, mean r on held-out images, low→high PoZ; ``weights
          (R, 5)``, what the weights add: estimate, low, high, se, p.
        - ``categories (2,)``: r of people with "same category or not", and partial r of all features with
          people given that; NaN without categories.
        - ``ceiling (2,)``, of single subjects; ``ceiling_mean (2,)``, of r with the mean RDM.
        - ``poz (21,)``: quantiles of PoZ in steps of 5 %; ``rare``, ``dead``: shares of PoZ > .8, = 1.
    """
    features, human = check_embedding(view.embedding), given.human
    n, n_features = features.shape
    if n != given.n:
        raise InputError(f"the view has {n} images, the judgments {given.n}.")
    if n < LEAST_IMAGES:
        raise InputError(f"at least {LEAST_IMAGES} judged images are needed; got {n}.")
    steps = np.unique(np.round(np.linspace(0, n_features, min(n_features, _STEPS) + 1)[1:]).astype(int))
    at = [count(share, n_features) for share in SHARES]
    orders = {first: poz.order(view.poz, first=first) for first in ("low", "high")}
    subjects = given.subjects
    found: dict[str, NDArray[Any]] = {"k": steps}
    bar = tqdm(total=4 + 3 + 1 + 3, desc=f"{given.name}, {view.name}", disable=not progress)

    def some(kinds: Iterable[str]) -> dict[str, dict[str, NDArray[Any]]]:
        shared = features, view.silent, given, steps, at, seed
        return {kind: _of_kind(*shared, orders[KINDS[kind][0]], kind) for kind in kinds}

    by_kind = functools.reduce(operator.or_, blocks.spread(some, list(KINDS), progress=progress, title="PoZ"))
    for kind in KINDS:
        found |= by_kind[kind]
    bar.update(len(KINDS))
    others = [poz.order(poz.statistic(features, by), first="high") for by in poz.STATISTICS]
    found |= zip(poz.STATISTICS, rdm_curves(features, human, others, k=steps.tolist()), strict=True)
    bar.update(len(others))
    rng = np.random.default_rng([seed, 3])
    chance = rdm_curves(features, human, [rng.permutation(n_features) for _ in range(BAND)], k=steps.tolist())
    found["random"] = np.full((3, len(steps)), np.nan)
    known = np.isfinite(chance).any(axis=0)  # a single feature's images are all constant
    found["random"][:, known] = np.nanquantile(chance[:, known], [0.05, 0.5, 0.95], axis=0)
    bar.update()
    rng = np.random.default_rng([seed, 4])
    drawn = inference.random_orders(features, orders["low"], rdm=human, rng=rng, n_orders=ORDERS, k=at)
    places = np.searchsorted(drawn.k, at)
    for first, r in zip(orders, rdm_curves(features, human, list(orders.values()), k=at), strict=True):
        own = inference.RandomOrders(drawn.k, r, drawn.null)  # against the same random orders
        found[f"chance_{first}"] = own.p[places]
    bar.update()
    rng = np.random.default_rng([seed, 6])
    tied = rdm_curves(features, human, [poz.order(view.poz, rng=rng) for _ in range(_TIES)], k=at)
    found["ties"] = np.quantile(tied[:, places], [0.05, 0.95], axis=0).T
    _, counts = np.unique(view.poz, return_counts=True)
    found["tied"] = np.asarray(counts[counts > 1].sum())
    bar.update()
    weighted = reweighted(
        features,
        human,
        orders["low"],
        k=[count(share, n_features) for share in RIDGE_SHARES],
        rng=np.random.default_rng([seed, 5]),
    )
    means = {name: getattr(weighted, name).mean(axis=(1, 2)) for name in ("plain", "ridge")}
    gain = weighted.gain()
    found |= {"ridge_k": weighted.k, **means}
    found["weights"] = np.stack([gain.estimate, gain.low, gain.high, gain.se, gain.p], axis=1)
    bar.update()
    bar.close()
    found["categories"] = _categories(features, given)
    nothing = np.full(2, np.nan)
    ceiling = given.ceiling
    found["ceiling_mean"] = nothing if ceiling is None else np.array([ceiling.low, ceiling.high])
    # Subjects with too little in common have no ceiling at all.
    people_ceiling = None if subjects is None or ceiling is None else given.subject_ceiling
    found["ceiling"] = (
        nothing if people_ceiling is None else np.array([people_ceiling.low, people_ceiling.high])
    )
    found["poz"] = np.quantile(view.poz, np.linspace(0, 1, 21))
    found["rare"], found["dead"] = np.asarray((view.poz > 0.8).mean()), np.asarray((view.poz == 1).mean())
    return found


# --- helpers -------------------------------------------------------------------------------------


def _scaled(numbers: NDArray[Any], scale: float) -> dict[str, float]:
    """A recorded test by :data:`COLUMNS`, in units of r with the mean RDM."""
    given = dict(zip(COLUMNS, np.asarray(numbers, dtype=np.float64).tolist(), strict=True))
    return {name: value if name in ("df", "p") else value * scale for name, value in given.items()}


def _of_kind(
    features: NDArray[np.float64],
    silent: NDArray[Any],
    given: Judgments,
    steps: NDArray[np.intp],
    at: Sequence[int],
    seed: int,
    order: NDArray[np.intp],
    kind: str,
) -> dict[str, NDArray[Any]]:
    """What is measured of a PoZ order with a metric."""
    n, (first, metric) = len(features), KINDS[kind]
    whole = rdm_curve(features, given.human, order, metric=metric)
    peak = selection.best(whole, n_images=n)
    found = {
        kind: whole.r[steps - 1],
        f"n_images_{kind}": whole.n_images[steps - 1],
        f"best_{kind}": np.array([peak, whole.r[peak - 1]]),
        f"subjects_{kind}": np.full(len(COLUMNS), np.nan),
        f"subjects_k_{kind}": np.zeros((0, 0), dtype=int),
    }
    rng = np.random.default_rng([seed, 1])
    people = {"cross": given.human}
    if given.subjects is not None:
        people["subjects"] = given.subjects
    for name, said in people.items():
        try:
            chosen = selection.cross_fitted(features, said, first, silent=silent, rng=rng, metric=metric)
        except InputError as error:
            if name == "cross":
                raise
            # Some of them judged too few pairs: other people cannot be taken to vary.
            warnings.warn(f"{given.name}: {error}", RarefireWarning, stacklevel=2)
            continue
        found[f"{name}_{kind}"] = np.array([getattr(chosen, column) for column in COLUMNS])
        found[f"{name}_k_{kind}"] = chosen.k
    found[f"advance_{kind}"] = _in_advance(features, given, order, at, metric, seed=seed)
    rng = np.random.default_rng([seed, 2])
    found[f"naive_{kind}"] = _naive(features[:, order], given.human, peak, metric, rng)
    return found


def _in_advance(
    features: NDArray[np.float64],
    given: Judgments,
    order: NDArray[np.intp],
    at: Sequence[int],
    metric: Metric,
    *,
    seed: int,
) -> NDArray[np.float64]:
    """D at each k that was decided on, other images (and subjects) taken to vary; NaN where undefined."""
    options: dict[str, Any] = {"k": at, "metric": metric}
    try:
        if given.subjects is None:
            replicates = inference.jackknife(features, order, rdm=given.human, **options)
        else:
            options |= {"n_boot": _N_BOOT, "rng": np.random.default_rng([seed, 7])}
            replicates = inference.two_factor_bootstrap(features, order, rdms=given.subjects, **options)
    except InputError:  # a subject judged too little
        return np.full((len(at), len(COLUMNS)), np.nan)
    test = replicates.estimate("difference")
    given_at = [getattr(test, column) for column in COLUMNS[:-2]] + [replicates.r, replicates.r_all]
    rows = np.stack(given_at, axis=1)
    rows[~np.isfinite(test.se)] = np.nan  # the first k features are silent for nearly all of the images
    return rows[np.searchsorted(test.k, at)]


def _categories(features: NDArray[np.float64], given: Judgments) -> NDArray[np.float64]:
    """R of people with "same category or not", and the features' partial r with people given that."""
    labels = None if given.images is None else given.images.labels
    if labels is None or len(np.unique(labels)) < 2:
        return np.full(2, np.nan)
    rows, columns = np.triu_indices(len(labels), k=1)
    network = 1 - similarities(features)[rows, columns]
    return np.array(partial(network, given.human, labels[rows] != labels[columns]))


def partial(
    network: NDArray[np.float64], human: NDArray[np.float64], control: NDArray[Any]
) -> tuple[float, float]:
    """How much of an agreement a third RDM accounts for.

    Parameters
    ----------
    network, human, control
        ``(n_pairs,)`` dissimilarities; pairs that are NaN are left out.

    Returns
    -------
    with_control, given_control
        Pearson r of `human` with `control`, and partial r of `network` with `human` given `control`; NaN
        where one of them does not vary.
    """
    use = np.isfinite(network) & np.isfinite(human) & np.isfinite(np.asarray(control, dtype=np.float64))
    three = [values[use].astype(np.float64) for values in (network, human, control)]
    if any(len(v) < 4 or np.ptp(v) <= SAME * np.abs(v).max() for v in three):
        return np.nan, np.nan
    (_, a, b), (_, _, c), _ = np.asarray(np.corrcoef(three)).tolist()
    left = (1 - b**2) * (1 - c**2)
    return c, (a - b * c) / np.sqrt(left) if left > SAME else np.nan


def _naive(
    ordered: NDArray[np.float64], human: NDArray[np.float64], k: int, metric: Metric, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Mean D and p over folds of the same images at the peak: what not to do."""
    if k == ordered.shape[1] or metric != "correlation" or not np.isfinite(human).all():
        return np.full(2, np.nan)
    seeds, folds = NAIVE
    sample = Sample(ordered, human, k, (k, ordered.shape[1]))
    state = rng.bit_generator.state
    with np.errstate(divide="ignore", invalid="ignore"):  # with few features, a fold's images may be alike
        d = differences_over_folds(sample, rng, seeds=seeds, folds=folds)
        rng.bit_generator.state = state
        return np.array([d.mean(), paired_t_over_folds(sample, rng, seeds=seeds, folds=folds)])
