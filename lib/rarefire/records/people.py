"""People predicted by slices of a network's features: all that is measured of one network and one set."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from rarefire import embeddings, inference, naive, networks, poz, selection, store, triplets
from rarefire._engine import blocks
from rarefire._engine.orders import rdm_curves
from rarefire.choices import Choices
from rarefire.curves import count, enough, rdm_curve
from rarefire.embeddings import View
from rarefire.errors import InputError, RarefireWarning
from rarefire.judgments import Judgments
from rarefire.rdm import Metric, check_embedding, partial, similarities
from rarefire.records.record import VERSIONS, Array, Record, answer_each, answer_one, shipped
from rarefire.reweighting import LEAST_IMAGES, reweighted
from rarefire.stimuli import Stimuli

__all__ = [
    "AGREEMENTS",
    "BAND",
    "COLUMNS",
    "CURVES",
    "KINDS",
    "NAIVE",
    "ORDERS",
    "RIDGE_SHARES",
    "SHARES",
    "TITLES",
    "VERDICTS",
    "Prediction",
    "agreements",
    "beforehand",
    "check_enough",
    "excerpt",
    "improved",
    "known",
    "known_excerpt",
    "measure",
    "measure_embedding",
    "measure_view",
    "ship",
    "verdicts",
    "view_of",
    "weights",
]

_GAIN = ("D", "low", "high", "se", "p")
_CHOSEN = {"D": "estimate", "low": "low", "high": "high", "p": "p"}
_STEPS = 512  # of a recorded curve; the best k is sought among all
_TIES = 100  # random orders of features with equal PoZ
_TESTED = 128  # numbers of features over which the largest t is taken

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
#: Views, named for readers.
TITLES = {"pooled": "pooled", "channels": "channels (APoZ)", "positions": "positions", "features": "features"}
#: Shares of the features that were decided on beforehand: the first 20 % are the paper's.
SHARES = (0.2, 0.5, 0.8)
#: Shares at which features are re-weighted.
RIDGE_SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
#: Columns of a recorded test.
COLUMNS = ("estimate", "low", "high", "se", "df", "p", "r_kept", "r_all")
#: Columns of :meth:`Prediction.table`, in words.
CURVES = {
    "view": "what counts as a feature",
    "k": "how many features are kept",
    "low": "r with the mean RDM of people (−1 to 1) of the k features with the lowest PoZ: most often active",
    "high": "the same of the k with the highest PoZ: firing most rarely",
    "low_cosine, high_cosine": "the same, by cosine distance",
    "mean, sd, entropy": "the same of the k highest in mean, standard deviation, entropy of activation",
}
#: Columns of :func:`agreements`, in words.
AGREEMENTS = {
    "kind, k": "how many features are kept, of those of low or of high PoZ",
    "agreement": "share of majorities on which of two images is more like a third; chance is .5",
    "odd one out": "share of trials in which the same image is left out; chance is 1/3",
    "D, low, high, p": "agreement − that of all features, its 95 % interval and two-sided p, over images",
}
#: Columns of :func:`verdicts`, in words.
VERDICTS = {
    "kind": "which features are kept: those of low or of high PoZ",
    "peak": "k, the number of features, at which r with people is highest",
    "gain": "r there − r of all features, on the same images: too good",
    "naive p": "of that gain, by a t test over folds of the same images: not valid",
    "p": "one-sided, that no k improves on all features; holm: adjusted for the rows of this table",
    "at, D, low": "the k with the clearest gain; r there − r of all; the lower end of its band",
    "k": "median number of features chosen on other images",
    "chosen D, low, high, p": "r at that k − r of all on new images, its 95 % interval and two-sided p",
}
_STEP = "prediction-step"
_Arrays = Mapping[str, NDArray[Any]]
#: Of a step's name and what computes it, what was kept of it, or is now.
_Kept = Callable[[str, Callable[[], _Arrays]], _Arrays]


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(Record):
    """One view of one network on one set of judgments, measured; r is with the mean RDM but where said.

    Beside the fields below: for each of :data:`KINDS`, ``<kind> (S,)``, r at k, and ``n_images_<kind>``;
    ``best_<kind> (2,)``, k and r at the peak over every k; ``largest_<kind> (4,)``: one-sided p of the
    largest t of D over the curve, and k, D and the lower end of its band there; ``advance_<kind> (3, 8)``, D
    at :data:`SHARES` (:data:`COLUMNS`); both by J−, over images, and subjects where there are any (r averaged
    over them); ``cross_<kind> (8,)``, order and k chosen on other images (:data:`COLUMNS`), and
    ``cross_k_<kind>``, what was chosen; ``subjects_<kind>``, ``subjects_k_<kind>``, the same with subjects;
    ``naive_<kind> (2,)``, mean D and p of a paired t test over folds of the same images at the peak. For
    ``low`` and ``high``, ``chance_<kind> (3,)``: p of the order against random ones at :data:`SHARES`. NaN
    where there is nothing to test.
    """

    k = Array("S,", "numbers of features at which curves are kept, up to 512 of them")
    mean = Array("S,", "r of the features with the highest mean activation")
    sd = Array("S,", "r of those with the highest standard deviation")
    entropy = Array("S,", "r of those with the highest entropy")
    random = Array("3, S", "5, 50 and 95 % of r over 50 random orders")
    ties = Array("3, 2", "5 and 95 % of r at :data:`SHARES`, low→high, with equal PoZ in random order")
    tied = Array("", "features that share the PoZ of another")
    ridge_k = Array("R,", "numbers of features that are re-weighted")
    plain = Array("R,", "mean r on held-out images, low→high PoZ, without weights")
    ridge = Array("R,", "the same with weights")
    weights = Array("R, 5", "what weights add on held-out images: estimate, low, high, se, p")
    categories = Array("2,", "r of people with 'same category or not', partial r of all features given that")
    ceiling = Array("2,", "noise ceiling of r with single subjects")
    ceiling_mean = Array("2,", "noise ceiling of r with the mean RDM")
    poz = Array("21,", "quantiles of PoZ in steps of 5 %")
    rare = Array("", "share of features with PoZ > .8")
    dead = Array("", "share of features with PoZ = 1")

    @property
    def judgments(self) -> str:
        """Name of the judgments."""
        return self.about

    @property
    def view(self) -> str:
        """Name of the view."""
        return str(self.facts["view"])

    @property
    def title(self) -> str:
        """Of the view, for readers."""
        return TITLES[self.view]

    @property
    def n_features(self) -> int:
        """Features in all."""
        return int(self.k[-1])

    @property
    def fraction(self) -> NDArray[np.float64]:
        """``(n_steps,)``, share of the features at the steps of the curves."""
        return np.asarray(self.k / self.n_features)

    @property
    def to_subjects(self) -> float:
        """R with the mean RDM times this is the mean r with single subjects; 1 where there are none."""
        scale = float(self.ceiling[1])
        return scale if np.isfinite(scale) else 1.0

    @property
    def has_subjects(self) -> bool:
        """Whether single subjects were taken to vary."""
        return bool(np.isfinite(self["subjects_low"]).all())

    def peak(self, kind: str) -> tuple[float, float]:
        """Share of the features and r with the mean RDM where the curve is highest, over every k."""
        k, r = self[f"best_{kind}"]
        return float(k / self.n_features), float(r)

    def at(self, name: str, share: float) -> float:
        """R at the recorded step nearest to a share of the features; of ``"random"`` orders, the median."""
        curve = self.random[1] if name == "random" else self.r(name)
        return float(curve[int(np.argmin(np.abs(self.fraction - share)))])

    def test(self, name: str) -> dict[str, float]:
        """A recorded test by its name, its numbers by :data:`COLUMNS`, in units of r with the mean RDM."""
        scale = 1 / self.to_subjects if name.startswith("subjects") else 1.0
        return _scaled(self[name], scale)

    def table(self) -> pd.DataFrame:
        """The recorded curves: ``view, k``, and r with the mean RDM by the name of each order and metric."""
        names = (*KINDS, *poz.STATISTICS)
        return pd.DataFrame({"view": self.view, "k": self.k, **{name: self.r(name) for name in names}})

    def ridge_table(self) -> pd.DataFrame:
        """Mean r on held-out images, low→high PoZ: ``view, k``, ``with weights`` and ``without``."""
        found = {"k": self.ridge_k, "with weights": self.ridge, "without": self.plain}
        return pd.DataFrame({"view": self.view, **found})


def measure(
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

    Notes
    -----
    Every step of it is kept as soon as it is done; what was stopped goes on from there.
    """
    images = _images(given)
    one = embeddings.extract(network, images.images[:1], layer=layer, spatial="keep")
    return _measured(
        given,
        _facts(given, network, name, layer) | {"seed": seed},
        ("features",) if one.ndim == 2 else ("pooled", "channels", "positions"),
        lambda: embeddings.views(network, images, layer=layer),
        use_shipped=use_shipped,
        progress=progress,
    )


def measure_embedding(
    given: Judgments,
    embedding: Any,
    *,
    name: str,
    seed: int = 0,
    use_shipped: bool = True,
    progress: bool = True,
) -> list[Prediction]:
    """As :func:`measure`, of features that are there already.

    Parameters
    ----------
    given
        Judgments; they need no images.
    embedding
        ``(n_images, n_features)``, post-ReLU, of the same images in the same order.
    name
        Of the embedding, for captions.
    seed, use_shipped, progress
        As for :func:`measure`.
    """
    view = view_of(embedding)
    facts = {
        "judgments": given.name,
        "judgments_digest": given.digest,
        "network": name,
        "embedding_digest": store.array_digest(view.embedding),
        "seed": seed,
    }
    options: dict[str, Any] = {"use_shipped": use_shipped, "progress": progress}
    return _measured(given, facts, (view.name,), lambda: [view], **options)


def view_of(embedding: Any) -> View:
    """An embedding ``(n_images, n_features)``, post-ReLU, as the features of a layer without positions."""
    features = np.asarray(embedding)
    features = features if features.dtype == np.float64 else features.astype(np.float32)
    poz.check_activations(features, dimensions=2)
    return View("features", features, features == 0)


def _measured(
    given: Judgments,
    facts: dict[str, Any],
    names: Sequence[str],
    views: Callable[[], list[View]],
    *,
    use_shipped: bool,
    progress: bool,
) -> list[Prediction]:
    """Of each view, what is known, else what is computed now, a step at a time."""

    def compute(missing: list[str]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        made = {view.name: view for view in views()}
        for which in missing:
            done: list[dict[str, Any]] = []

            def kept(
                step: str, compute: Callable[[], _Arrays], which: str = which, done: list[Any] = done
            ) -> _Arrays:
                own = {**facts, **VERSIONS["prediction"], "view": which, "step": step}
                done.append(own)
                known = store.recall(_STEP, own, use_shipped=False)
                return (known or store.keep(_STEP, own, compute())).arrays

            yield which, measure_view(made[which], given, seed=facts["seed"], progress=progress, kept=kept)
            for step in done:  # the whole is kept now
                store.forget(_STEP, step)

    answers = answer_each(
        "prediction",
        facts,
        {which: {"view": which} for which in names},
        compute,
        use_shipped=use_shipped,
        what=f"{given.name}, {facts['network']}",
    )
    return [Prediction((answer,)) for answer in answers.values()]


def agreements(given: Choices, views: Sequence[View]) -> pd.DataFrame:
    """How often slices of a network's features choose as people did among three images.

    Parameters
    ----------
    given
        What people chose.
    views
        Features of the same images, in the same order.

    Returns
    -------
    DataFrame
        A row for each view, order by PoZ (``kind``) and share of :data:`SHARES`, and of all features: ``k``;
        ``agreement`` with the majorities (:func:`rarefire.triplets.agreement_curve`; chance is .5), ``D``,
        its difference from that of all features, with ``low``, ``high`` and ``p``, J− over images; and of
        odd-one-out trials ``odd one out``, how often the same image is left out (chance is 1/3).
    """
    asked, rows = triplets.of_choices(given), []
    for view in views:
        for kind in ("low", "high"):
            order = poz.order(view.poz, first="low" if kind == "low" else "high")
            steps = sorted({count(share, len(order)) for share in (*SHARES, 1)})
            curve = triplets.agreement_curve(view.embedding, asked, order, k=steps)
            test = curve.estimate()
            for i, k in enumerate(steps):
                row = {"view": view.name, "kind": kind, "k": k, "agreement": curve.agreement[i]}
                if given.columns.kind == "odd-one-out":
                    row["odd one out"] = _left_out(view.embedding[:, order[:k]], given)
                if k < len(order):
                    row |= {"D": test.estimate[i], "low": test.low[i], "high": test.high[i], "p": test.p[i]}
                rows.append(row)
    return pd.DataFrame(rows)


def _left_out(features: NDArray[Any], given: Choices) -> float:
    """Of odd-one-out trials, as far as dissimilarities of all three images are defined."""
    try:
        return triplets.odd_one_out(1 - similarities(features), given)
    except InputError:  # some images have none
        return float("nan")


def known(judgments: str) -> list[Prediction]:
    """What is shipped for a set of judgments, every view of one network; needs no data and no network."""
    found = [Prediction((answer,)) for answer in shipped("prediction", judgments=judgments)]
    return [p for p in found if p.network == found[0].network]


def excerpt(
    given: Judgments,
    network: nn.Module,
    *,
    name: str,
    layer: str = embeddings.PENULTIMATE,
    use_shipped: bool = True,
) -> Record:
    """A layer's embedding, small enough to travel in a page: channels averaged over positions.

    Parameters
    ----------
    given, network, name, layer, use_shipped
        As for :func:`measure`.

    Returns
    -------
    Record
        With ``embedding (n, F)`` in half precision; ``labels (n,)`` and ``categories (C,)`` of the images.
    """
    images = _images(given)

    def compute() -> dict[str, NDArray[Any]]:
        embedding = embeddings.views(network, images, layer=layer)[0].embedding
        return {
            "embedding": embedding.astype(np.float16),
            "labels": images.labels,
            "categories": np.array(images.class_names),
        }

    facts = _facts(given, network, name, layer)
    found = answer_one("prediction-sample", facts, compute, use_shipped=use_shipped)
    assert found is not None  # it is computed where it is not known
    return found


def known_excerpt(judgments: str) -> Record | None:
    """The excerpt that is shipped for a set of judgments; needs no data and no network."""
    answers = shipped("prediction-sample", judgments=judgments)
    return Record((answers[0],)) if answers else None


def _images(given: Judgments) -> Stimuli:
    if given.images is None:
        raise InputError(f"the images of {given.name!r} are not at hand; a network needs them.")
    return given.images


def _facts(given: Judgments, network: nn.Module, name: str, layer: str) -> dict[str, Any]:
    return {
        "judgments": given.name,
        "judgments_digest": given.digest,
        "network": name,
        "weights_digest": networks.digest(network),
        "layer": layer,
    }


def ship(predictions: Sequence[Prediction], path: str | Path, *, excerpt: Record) -> Path:
    """Write predictions as a file of shipped results; the excerpt goes into ``<name>-sample.npz``."""
    path = Path(path)
    excerpt.ship(path.with_stem(f"{path.stem}-sample"))
    return store.pack(path, [answer for p in predictions for answer in p.answers])


# --- tables --------------------------------------------------------------------------------------


def verdicts(predictions: Sequence[Prediction], *, kinds: Sequence[str] = ("low", "high")) -> pd.DataFrame:
    """Does any slice predict people better than all features? The naive verdict and the valid one.

    Parameters
    ----------
    predictions
        The family.
    kinds
        Of :data:`KINDS`.

    Returns
    -------
    DataFrame
        A row for each prediction and kind: ``judgments, network, view, kind``. Then, in units of r with the
        mean RDM: ``peak``, the whole curve's best k; ``gain``, r there − r of all; ``naive p`` of a paired t
        test of the gain over folds of the same images; ``p``, one-sided, of the largest t over the curve
        (:func:`rarefire.inference.largest`, J−, with subjects where there are any), ``at``, the k of that t,
        ``D`` and ``low``, the difference there and the lower end of its band; and ``holm``, p adjusted over
        the rows. Another question, how good the choice is for new images
        (:func:`rarefire.selection.cross_fitted`): ``k``, the median number of features chosen on other
        images, ``chosen D, chosen low, chosen high, chosen p``, where subjects vary too where there are any.
    """
    rows = []
    for found in predictions:
        prefix = "subjects" if found.has_subjects else "cross"
        for kind in kinds:
            chosen, scale = found.test(f"{prefix}_{kind}"), 1 / found.to_subjects
            p, at, d, low = found[f"largest_{kind}"].astype(float)
            rows.append(
                {
                    "judgments": found.judgments,
                    "network": found.network,
                    "view": found.view,
                    "kind": kind,
                    "peak": int(found[f"best_{kind}"][0]),
                    "gain": float(found[f"best_{kind}"][1] - found[kind][-1]),
                    "naive p": float(found[f"naive_{kind}"][1]),
                    "p": p,
                    "at": at,
                    "D": d * scale,
                    "low": low * scale,
                    "k": float(np.median(found[f"cross_k_{kind}"])),
                    **{f"chosen {c}": chosen[name] for c, name in _CHOSEN.items()},
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(holm=inference.holm(table["p"]))


def improved(table: pd.DataFrame, *, naive: bool = False) -> pd.Series:
    """Rows in which some slice predicts people significantly better than all features, at .05.

    Parameters
    ----------
    table
        From :func:`verdicts`.
    naive
        Believe the naive test, rather than the valid one with Holm's adjustment.
    """
    gain, p = (table["gain"], table["naive p"]) if naive else (table["D"], table["holm"])
    return (gain > 0) & (p < 0.05)


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
    rows = [{"view": p.view, **dict(zip(_GAIN, p.weights[-1], strict=True))} for p in predictions]
    table = pd.DataFrame(rows)
    return table.assign(holm=inference.holm(table.p))


# --- one view ------------------------------------------------------------------------------------


def measure_view(
    view: View,
    given: Judgments,
    *,
    seed: int = 0,
    progress: bool = False,
    kept: _Kept = lambda _, compute: compute(),
) -> dict[str, NDArray[Any]]:
    """Everything that the book shows of one view: the arrays of :class:`Prediction`.

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
    kept
        Given the name of a step and what computes its arrays, these: to keep what is done.
    """
    asked = _asked(view, given, seed)
    questions = (_other_orders, _random_orders, _chance, _ties, _reweighted, _categories, _ceilings, _silence)

    def some(kinds: Iterable[str]) -> dict[str, NDArray[Any]]:
        return functools.reduce(operator.or_, (_of_kind(asked, kind, kept) for kind in kinds))

    found: dict[str, NDArray[Any]] = {"k": asked.steps}
    for part in blocks.spread(some, list(KINDS), progress=progress, title="PoZ"):
        found |= part
    for question in tqdm(questions, desc=f"{given.name}, {view.name}", disable=not progress):
        found |= kept(question.__name__, functools.partial(question, asked))
    return found


@dataclass(frozen=True)
class _Asked:
    """A view and judgments of the same images; `at`, numbers of features at :data:`SHARES`."""

    view: View
    features: NDArray[np.float64]
    given: Judgments
    orders: dict[str, NDArray[np.intp]]
    steps: NDArray[np.intp]
    at: list[int]
    seed: int

    def rng(self, question: int) -> np.random.Generator:
        """Random numbers of each question's own, so that they do not depend on the others."""
        return np.random.default_rng([self.seed, question])


def check_enough(given: Judgments) -> None:
    """Refuse judgments of too few images for the folds of the reweighted predictions.

    Raises
    ------
    InputError
        For fewer than :data:`rarefire.reweighting.LEAST_IMAGES`.
    """
    if given.n < LEAST_IMAGES:
        raise InputError(f"at least {LEAST_IMAGES} judged images are needed; got {given.n}.")


def _asked(view: View, given: Judgments, seed: int) -> _Asked:
    features = check_embedding(view.embedding)
    n, n_features = features.shape
    if n != given.n:
        raise InputError(f"the view has {n} images, the judgments {given.n}.")
    check_enough(given)
    steps = np.unique(np.round(np.linspace(0, n_features, min(n_features, _STEPS) + 1)[1:]).astype(int))
    orders = {"low": poz.order(view.poz, first="low"), "high": poz.order(view.poz, first="high")}
    return _Asked(view, features, given, orders, steps, [count(s, n_features) for s in SHARES], seed)


def _of_kind(asked: _Asked, kind: str, kept: _Kept) -> dict[str, NDArray[Any]]:
    """A PoZ order with a metric: its curve, its peak, and whether that says anything."""
    found: dict[str, NDArray[Any]] = {}
    for step in (_curve, _chosen, _in_advance):
        found |= kept(f"{kind}{step.__name__}", functools.partial(step, asked, kind))
    return found


def _curve(asked: _Asked, kind: str) -> dict[str, NDArray[Any]]:
    """The curve, its peak, and the naive test of it."""
    first, metric = KINDS[kind]
    features, given, order = asked.features, asked.given, asked.orders[first]
    whole = rdm_curve(features, given.human, order, metric=metric)
    peak = selection.best(whole, n_images=len(features))
    return {
        kind: whole.r[asked.steps - 1],
        f"n_images_{kind}": whole.n_images[asked.steps - 1],
        f"best_{kind}": np.array([peak, whole.r[peak - 1]]),
        f"naive_{kind}": _naive(asked, order, peak, metric),
    }


def _chosen(asked: _Asked, kind: str) -> dict[str, NDArray[Any]]:
    """The order and k chosen on other images, and by other people."""
    (first, metric), features, given = KINDS[kind], asked.features, asked.given
    found = {
        f"subjects_{kind}": np.full(len(COLUMNS), np.nan),
        f"subjects_k_{kind}": np.zeros((0, 0), dtype=int),
    }
    rng = asked.rng(1)
    people = {"cross": given.human} | ({} if given.subjects is None else {"subjects": given.subjects})
    for name, said in people.items():
        try:
            chosen = selection.cross_fitted(
                features, said, first, silent=asked.view.silent, rng=rng, metric=metric
            )
        except InputError as error:
            if name == "cross":
                raise
            # Some of them judged too few pairs: other people cannot be taken to vary.
            warnings.warn(f"{given.name}: {error}", RarefireWarning, stacklevel=2)
            continue
        found[f"{name}_{kind}"] = np.array([getattr(chosen, column) for column in COLUMNS])
        found[f"{name}_k_{kind}"] = chosen.k
    return found


def _in_advance(asked: _Asked, kind: str) -> dict[str, NDArray[Any]]:
    """D at each k that was decided on, and the largest t along the curve; NaN where undefined."""
    first, metric = KINDS[kind]
    given, order = asked.given, asked.orders[first]
    n, n_features = asked.features.shape
    advance, most = np.full((len(asked.at), len(COLUMNS)), np.nan), np.full(4, np.nan)
    steps = np.round(np.linspace(0, n_features, min(n_features, _TESTED) + 1)[1:]).astype(int)
    options: dict[str, Any] = {"k": np.unique([*steps, *asked.at]).tolist(), "metric": metric}
    # Where a subject judged too few pairs, other people cannot be taken to vary.
    for people in (given.human,) if given.subjects is None else (given.subjects, given.human):
        found = inference.corrected_jackknife(asked.features, order, rdm=people, **options)
        use = enough(found.n_images, n) & np.isfinite(found.variance["difference"])
        if use[found.value("difference") != 0].any():
            test = found.estimate("difference")
            columns = [getattr(test, column) for column in COLUMNS[:-2]] + [found.r, found.r_all]
            rows = np.stack(columns, axis=1)
            rows[~np.isfinite(test.se)] = np.nan  # the first k are silent for nearly all of the images
            advance = rows[np.searchsorted(test.k, asked.at)]
            largest = found.maximum(rng=asked.rng(7), alternative="greater", use=use)
            best = np.flatnonzero(found.k == largest.best)[0]
            most = np.array([largest.p, largest.best, test.estimate[best], largest.low[best]])
            break
    return {f"advance_{kind}": advance, f"largest_{kind}": most}


def _naive(asked: _Asked, order: NDArray[np.intp], k: int, metric: Metric) -> NDArray[np.float64]:
    """Mean D and p over folds of the same images at the peak: what not to do."""
    human, (seeds, folds) = asked.given.human, NAIVE
    if k == len(order) or metric != "correlation" or not np.isfinite(human).all():
        return np.full(2, np.nan)
    given, options = (asked.features, human, order), {"k": k, "seeds": seeds, "folds": folds}
    d = naive.differences_over_folds(*given, rng=asked.rng(2), **options)
    return np.array([d.mean(), naive.paired_t_over_folds(*given, rng=asked.rng(2), **options)])


def _other_orders(asked: _Asked) -> dict[str, NDArray[Any]]:
    """Other ways to rank features without asking people."""
    by = [poz.order(poz.statistic(asked.features, name), first="high") for name in poz.STATISTICS]
    r = rdm_curves(asked.features, asked.given.human, by, k=asked.steps.tolist())
    return dict(zip(poz.STATISTICS, r, strict=True))


def _random_orders(asked: _Asked) -> dict[str, NDArray[Any]]:
    """The band of whole random orders."""
    rng, n_features = asked.rng(3), asked.features.shape[1]
    drawn = [rng.permutation(n_features) for _ in range(BAND)]
    chance = rdm_curves(asked.features, asked.given.human, drawn, k=asked.steps.tolist())
    band = np.full((3, len(asked.steps)), np.nan)
    known = np.isfinite(chance).any(axis=0)  # a single feature's images are all constant
    band[:, known] = np.nanquantile(chance[:, known], [0.05, 0.5, 0.95], axis=0)
    return {"random": band}


def _chance(asked: _Asked) -> dict[str, NDArray[Any]]:
    """Whether a PoZ order differs from random ones; both from the same."""
    features, human, at = asked.features, asked.given.human, asked.at
    options: dict[str, Any] = {"rdm": human, "rng": asked.rng(4), "n_orders": ORDERS, "k": at}
    drawn = inference.random_orders(features, asked.orders["low"], **options)
    places = np.searchsorted(drawn.k, at)
    curves = rdm_curves(features, human, list(asked.orders.values()), k=at)
    return {
        f"chance_{first}": inference.RandomOrders(drawn.k, r, drawn.null).p[places]
        for first, r in zip(asked.orders, curves, strict=True)
    }


def _ties(asked: _Asked) -> dict[str, NDArray[Any]]:
    """What the rule for equal PoZ matters."""
    rng, rates = asked.rng(6), asked.view.poz
    orders = [poz.order(rates, rng=rng) for _ in range(_TIES)]
    tied = rdm_curves(asked.features, asked.given.human, orders, k=asked.at)
    places = np.searchsorted(np.unique(asked.at), asked.at)
    _, counts = np.unique(rates, return_counts=True)
    return {
        "ties": np.quantile(tied[:, places], [0.05, 0.95], axis=0).T,
        "tied": np.asarray(counts[counts > 1].sum()),
    }


def _reweighted(asked: _Asked) -> dict[str, NDArray[Any]]:
    """What a weight for each feature adds."""
    steps = [count(share, asked.features.shape[1]) for share in RIDGE_SHARES]
    given = asked.features, asked.given.human, asked.orders["low"]
    found = reweighted(*given, k=steps, rng=asked.rng(5))
    gain = found.gain()
    return {
        "ridge_k": found.k,
        "plain": found.plain.mean(axis=(1, 2)),
        "ridge": found.ridge.mean(axis=(1, 2)),
        "weights": np.stack([gain.estimate, gain.low, gain.high, gain.se, gain.p], axis=1),
    }


def _categories(asked: _Asked) -> dict[str, NDArray[Any]]:
    """R of people with "same category or not", and the features' partial r with people given that."""
    labels = None if asked.given.images is None else asked.given.images.labels
    if labels is None or len(np.unique(labels)) < 2:
        return {"categories": np.full(2, np.nan)}
    rows, columns = np.triu_indices(len(labels), k=1)
    network = 1 - similarities(asked.features)[rows, columns]
    return {"categories": np.array(partial(network, asked.given.human, labels[rows] != labels[columns]))}


def _ceilings(asked: _Asked) -> dict[str, NDArray[Any]]:
    """The best r with the mean RDM and with single subjects; these may have too little in common for one."""
    given, nothing = asked.given, np.full(2, np.nan)
    of_mean = given.ceiling
    single = None if given.subjects is None or of_mean is None else given.subject_ceiling
    return {
        "ceiling_mean": nothing if of_mean is None else np.array([of_mean.low, of_mean.high]),
        "ceiling": nothing if single is None else np.array([single.low, single.high]),
    }


def _silence(asked: _Asked) -> dict[str, NDArray[Any]]:
    """How rarely the features fire."""
    rates = asked.view.poz
    return {
        "poz": np.quantile(rates, np.linspace(0, 1, 21)),
        "rare": poz.rare_share(rates),
        "dead": np.asarray((rates == 1).mean()),
    }


def _scaled(numbers: NDArray[Any], scale: float) -> dict[str, float]:
    """A recorded test by :data:`COLUMNS`, in units of r with the mean RDM."""
    given = dict(zip(COLUMNS, np.asarray(numbers, dtype=np.float64).tolist(), strict=True))
    return {name: value if name in ("df", "p") else value * scale for name, value in given.items()}
