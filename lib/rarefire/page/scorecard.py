"""What this project measured for each claim of the paper, in the ways in which a claim can be read.

The chapters and the page *The scorecard* take their verdicts from here: :func:`accuracy` and
:func:`geometry` for fifty small networks, :func:`example` for the paper's three images, :func:`people`
and :func:`ghosts` for human judgments and for what never fires. :func:`verdicts` sets them beside the
claims of :mod:`rarefire.page.claims`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rarefire import inference, poz, rdm, records, triplets
from rarefire.errors import DataError, InputError, unknown
from rarefire.page import cards, claims
from rarefire.page.claims import EDGE
from rarefire.page.frame import interval, number, p_value, signed, table
from rarefire.page.palette import LABELS
from rarefire.page.plots import ARROWS
from rarefire.records.ensembles import Ensemble
from rarefire.records.ghosts import Reading
from rarefire.records.ghosts_by_class import ClassGhosts
from rarefire.records.people import Prediction
from rarefire.records.people_across import Across
from rarefire.records.people_by_class import ClassLevel
from rarefire.records.pruned import Pruned, Units
from rarefire.retrieval import QUERIES

__all__ = [
    "CONTROLS",
    "CONVENTIONS",
    "EXAMPLE",
    "LATE",
    "MEASURED",
    "THEIRS",
    "WAYS",
    "Finding",
    "accuracy",
    "changes",
    "decided",
    "example",
    "gains",
    "geometry",
    "geometry_verdicts",
    "ghosts",
    "in_short",
    "labelled",
    "lacking",
    "of_groups",
    "on_the_paper",
    "people",
    "pruned",
    "readable",
    "readings",
    "recorded",
    "separations",
    "tally",
    "untested",
    "verdicts",
]

#: Ways of reading the claims about geometry: what is compared, and which images PoZ is counted on.
CONVENTIONS = {
    "authors": "class means, r², PoZ from the same images",
    "class": "class means, r, PoZ from the same images",
    "images": "images, r, PoZ from the same images",
    "strict": "images, r, PoZ from held-out images",
    "firing": "images, r, of features that fire, PoZ from the same images",
}
#: Those that were added after results had been seen.
LATE = ("class", "firing")
_SUFFIX = {
    "authors": "_class",
    "class": "_class_signed",
    "images": "",
    "strict": "_heldout",
    "firing": "",
}
#: Those that differ in what is compared, in short.
WAYS = {way: CONVENTIONS[way].rsplit(", ", 1)[0] for way in ("authors", "class", "strict", "firing")}
#: What a negative query by ghosts must be better than: query -> its name here.
CONTROLS = {"mean": "the category’s mean", "active": "its most active features", "random": "random features"}

#: Mean canonical correlations in the demonstration of Ansuini and Zullich's library, by weights left.
THEIRS = {
    0.5: (0.9997, 0.9998, 0.9985, 0.9990, 0.989, 0.986, 0.999),
    0.25: (0.998, 0.9985, 0.989, 0.991, 0.933, 0.930, 0.994),
}

#: Measures of similarity -> how they are called.
MEASURED = {"pearson": "RDM, Pearson", "cosine": "RDM, cosine", "cka": "CKA", "cca": "CCA"}

#: The paper's example (introduction): images A, B, C by six features, the last of which never fires.
EXAMPLE = (
    (0.91, 0.76, 0.3, 0.7, 0.9, 0.0),
    (0.4, 0.7, 0.6, 0.3, 0.7, 0.0),
    (0.02, 0.4, 0.9, 0.2, 0.2, 0.0),
)


_COLUMNS = [
    *("id", "claim", "paper", "images", "convention", "ours", "low", "high", "from", "to"),
    *(
        "instances",
        "undefined",
        "within",
        "beyond",
        "counted",
        "verdict",
        "of value",
        "between",
        "by",
        "late",
    ),
]


@dataclass(frozen=True)
class Finding:
    """What was measured for a claim, in one way, on one image set.

    Attributes
    ----------
    claim
        Its id.
    images
        Name of the image set, with the network where that is not the usual one.
    values
        One per instance ``(I,)`` or a number; NaN where there is none.
    convention
        How, where there are several ways.
    interval
        The 95 % interval, where it is not one over instances.
    """

    claim: str
    images: str
    values: ArrayLike
    convention: str = ""
    interval: tuple[float, float] | None = None


def geometry(ensemble: Ensemble, *, convention: str = "strict") -> Iterator[Finding]:
    """Findings on figure 1a–c: an ensemble's PoZ and geometry.

    Parameters
    ----------
    ensemble
        The ensemble.
    convention
        One of :data:`CONVENTIONS`: ``"authors"`` is that of the authors' earlier public code,
        ``"class"`` the same without the inner square, ``"strict"`` leaves out what could flatter, and
        ``"firing"`` counts shares among the features that fire
        (:meth:`~rarefire.records.ensembles.Ensemble.at`), so that it has
        nothing to say on how many fire.
    """
    if convention not in CONVENTIONS:
        raise unknown("convention", convention, list(CONVENTIONS))
    images, firing = _name(ensemble), convention == "firing"
    low, high = (first + _SUFFIX[convention] for first in ("low", "high"))
    at = functools.partial(ensemble.at, firing=firing)
    beginning = np.linspace(0, 0.2, ensemble.n_features + 1)[1:]  # every k up to that
    values = {
        "poz-80": poz.rare_share(ensemble["poz_heldout" if convention == "strict" else "poz_test"]),
        "r2-at-80": at(low, 0.8),
        "zeros-matter": 1 - ensemble.at(low, 1, firing=True),
        "r2-at-30": at(low, 0.3),
        "rare-20": at(high, 0.2),
        "rare-max": _largest(np.stack([at(high, share) for share in beginning], axis=1)),
        "rare-below-low": at(low, 0.3) - at(high, 0.3),
    }
    if firing:
        del values["poz-80"], values["zeros-matter"]
    for name, found in values.items():
        yield Finding(name, images, found, convention)


def accuracy(ensemble: Ensemble) -> Iterator[Finding]:
    """Findings on an ensemble's accuracy, where the paper has these images."""
    for name, claim in claims.claims().items():
        if name.startswith("accuracy-") and claim.is_about(ensemble.images):
            yield Finding(name, _name(ensemble), ensemble.accuracy)


def _name(ensemble: Ensemble) -> str:
    """Of the images, and of the network's form where that is not the usual one."""
    form = ensemble.network.removeprefix("lenet5").removeprefix("-")
    return f"{ensemble.images}, {form}" if form else ensemble.images


def example() -> Iterator[Finding]:
    """Findings on the introduction's example: three Pearson correlations, with the zero and without it."""
    rows = np.array(EXAMPLE)
    found: dict[str, float] = {}
    for suffix, embedding in (("", rows), ("-without", rows[:, :-1])):
        ab, ac, bc = 1 - rdm.rdm(embedding)
        found |= {f"worked-ab{suffix}": ab, f"worked-bc{suffix}": bc, f"worked-ac{suffix}": ac}
    with_it, without = (found[f"worked-ab{s}"] - found[f"worked-bc{s}"] for s in ("", "-without"))
    found["worked-order"] = float(np.sign(with_it) != np.sign(without))
    for name, value in found.items():
        yield Finding(name, "example", value)


def people(
    across: Across | None, lenets: ClassLevel | None, six: Sequence[Prediction] = ()
) -> Iterator[Finding]:
    """Findings on figure 1d: people's judgments predicted by slices of the features.

    Parameters
    ----------
    across
        Several networks on sets of judgments other than the paper's: the mean over networks of pooled
        features. Its interval is that of a mean of estimates from the same images, as if they all erred
        together: no network is counted as an independent observation.
    lenets
        Class means of an ensemble beside people's confusions, if any.
    six
        Predictions of the paper's own sets; without them those claims stay untested.
    """
    for prediction in six:
        whole = prediction.at("low", 1)
        at = records.people.beforehand([prediction], kinds=["low"]).set_index("share")
        fifth, half = (
            {c: float(at.loc[share, c]) for c in ("estimate", "low", "high")} for share in (0.2, 0.5)
        )
        low, high = (_relative(whole, fifth[end]) for end in ("low", "high"))
        yield Finding(
            "human-20", prediction.judgments, _relative(whole, fifth["estimate"]), interval=(low, high)
        )
        interval = (half["low"], half["high"])
        yield Finding("human-lower", prediction.judgments, half["estimate"], interval=interval)
    if across is not None:
        yield from _over_networks(across)
    if lenets is not None:
        r, k = lenets.r("low"), lenets.change("low", 0.2).k
        yield Finding("human-20", "CIFAR-10H, class means of LeNets", (r[:, k - 1] / r[:, -1]) ** 2)
    if not six:
        yield from untested("human-20", "human-lower")


def _over_networks(across: Across) -> Iterator[Finding]:
    """Means over networks, by set: the first 20 % beside all, and D at half."""
    view, half = records.people_across.HEADLINE
    table = across.table()
    for name, rows in table[table["view"].isin([view, "features"])].groupby("set", sort=False):
        images = f"{records.people_across.SETS[str(name)]}, {rows['network'].nunique()} networks"
        by = rows.groupby(["reading", "share"])
        means = by[["estimate", "se", "r_all"]].mean().assign(df=by["df"].min())
        low, high, _ = inference.t_interval(*(means[c].to_numpy() for c in ("estimate", "se", "df")))
        ends = pd.DataFrame({"low": low, "high": high}, index=means.index)
        at = ("removed", 0.2)
        if name not in triplets.NAMES:  # agreement has no R²
            whole, d = float(means.loc[at, "r_all"]), float(means.loc[at, "estimate"])
            interval = tuple(_relative(whole, float(ends.loc[at, end])) for end in ("low", "high"))
            yield Finding("human-20", images, _relative(whole, d), interval=interval)  # type: ignore[arg-type]
        at = ("removed", half)
        interval = (float(ends.loc[at, "low"]), float(ends.loc[at, "high"]))
        yield Finding("human-lower", images, float(means.loc[at, "estimate"]), interval=interval)


def _relative(whole: float, d: float) -> float:
    """R² of a slice relative to that of all features, from r of all and the difference."""
    return max((whole + d) / whole, 0) ** 2


def untested(*ids: str) -> Iterator[Finding]:
    """Claims for whose own image sets there is nothing: a finding without a value for each set."""
    known = claims.everyones()
    for name in ids:
        if name not in known:
            raise unknown("claim", name, list(known))
        for images in known[name].scope:
            yield Finding(name, images, np.nan)


def lacking(found: Sequence[Finding], group: str) -> Iterator[Finding]:
    """A finding without a value for each image set that a claim of others is about, and no finding is.

    Parameters
    ----------
    found
        What there is.
    group
        Of the claims, as in :class:`rarefire.page.claims.Claim`.
    """
    for claim in claims.of_others().values():
        for images in claim.scope if claim.group == group else ():
            own = replace(claim, scope=(images,))
            if not any(f.claim == claim.id and own.is_about(f.images) for f in found):
                yield Finding(claim.id, images, np.nan)


def ghosts(lenets: Mapping[str, ClassGhosts], photographs: Sequence[Reading]) -> Iterator[Finding]:
    """Findings on ghost features: whether they separate a category better than other scores do, and more.

    Parameters
    ----------
    lenets
        By image set, ghosts of every class in an ensemble
        (:func:`rarefire.records.ghosts_by_class.measure`). At the number of defining images nearest to
        the paper's 120.
    photographs
        Readings of categories by a larger network. AUCs are against the other judged photographs, those of
        a kind within the gallery against its rest; a value for each category.
    """
    # All of the photographs have no outside but photographs of other kinds.
    apart = [reading for reading in photographs if reading.category != records.ghosts.EVERY]
    for query, control in CONTROLS.items():
        for name, found in lenets.items():
            m = found.step(120)
            better = found.area("ghosts")[:, m] - found.area(query)[:, m]
            yield Finding("ghosts-separate", name, better, f"against {control}")
        if apart:
            place = list(QUERIES).index(query) - 1  # of the difference: that with ghosts themselves has none
            gains = [r.difference[1 if r.from_gallery else 0, place, 0] for r in apart]
            yield Finding("ghosts-separate", "photographs, by category", gains, f"against {control}")
    for reading in photographs:
        own = 1 - reading.from_random
        images = f"{reading.n_images} images"
        yield Finding("ghosts-specific", f"photographs: {reading.category}", own, images)
    yield from untested("ghosts-separate", "ghosts-specific", "ghosts-figure")


def pruned(
    sets: Mapping[str, Pruned],
    units: Mapping[str, Units],
    *,
    halves: Pruned | None = None,
    tickets: Pruned | None = None,
) -> Iterator[Finding]:
    """Findings on what others say about pruning, and on the contrast with PoZ.

    Parameters
    ----------
    sets, units
        By image set (:func:`rarefire.records.pruned.measure`, ``measure_units``).
    halves, tickets
        The settings of these names, where they are known.
    """
    for name, found in sets.items():
        yield from _of_pruned(name, found)
        if name in units:
            yield from _of_units(name, found, units[name])
    if halves is not None:
        for number, share in enumerate(THEIRS, start=1):
            each = [halves.alike_in(layer, "cca")[:, halves.place("lrr", number)] for layer in halves.layers]
            moved = 1 - np.min(each, axis=0)
            yield Finding(f"halves-{number}", "mnist", moved / (1 - min(THEIRS[share])))
    if tickets is not None:
        stop, right = tickets.stop.astype(float), 100 * tickets.accuracy
        at = {n: tickets.place("imp", n) for n in (7, 9, 15)}
        new = tickets.place("reinitialised", 7)
        yield Finding("tickets-sooner", "mnist", 1 - stop[:, at[7]] / stop[:, 0])
        yield Finding("tickets-better", "mnist", right[:, at[9]] - right[:, 0])
        yield Finding("tickets-match", "mnist", right[:, at[15]] - right[:, 0])
        yield Finding("tickets-new", "mnist", stop[:, new] / stop[:, at[7]])
    yield from untested("few-destroy", "few-keep")


def _of_pruned(name: str, found: Pruned) -> Iterator[Finding]:
    near_half = min(found.numbers("lrr"), key=lambda n: abs(found.share[0, found.place("lrr", n)] - 0.5))
    for measure, title in MEASURED.items():
        of = {la: found.alike_in(la, measure)[:, found.place("lrr", near_half)] for la in found.layers}
        first, between = (np.mean([of[f"{kind}{i}"] for kind in ("relu", "pool")], axis=0) for i in (1, 2))
        last = np.mean([of[layer] for layer in found.layers[4:]], axis=0)
        yield Finding("layers-between", f"{name}, LeNet-5", np.minimum(first, last) - between, title)
    for method, title in (("imp", "lottery ticket"), ("lrr", "no reset")):
        for measure in ("pearson", "cca"):
            excess = found.excess(method, 1, measure=measure)
            yield Finding("small-rates", name, excess, f"{title}, {MEASURED[measure]}")
    same = found.last_within("imp")
    for measure in ("pearson", "cca"):
        values = found.alike_in(measure=measure)
        gap = found.control("imp", 1, values) - found.each_at("imp", same, values)
        yield Finding("like-accuracy", name, np.where(same > 0, gap, np.nan), MEASURED[measure])
    last_round = found.numbers("random")[-1]
    right = {m: found.accuracy[:, found.place(m, last_round)] for m in ("imp", "random", "reinitialised")}
    yield Finding("structure", name, right["reinitialised"] - right["random"], "with new weights")
    yield Finding("structure", name, right["imp"] - right["random"], "with its own weights")
    for of_control, title in ((False, "than the first network"), (True, "than training on")):
        last = found.last_within("trim", 0.002, of_control=of_control)
        yield Finding("trim-saves", name, 1 / found.each_at("trim", last, found.share), title)


def _of_units(name: str, found: Pruned, units: Units) -> Iterator[Finding]:
    whole, without, only, _ = np.moveaxis(units.classes, 1, 0)
    above = whole - 0.5
    yield Finding("few-destroy", name, ((whole - without) / above).mean(axis=1), "LeNet-5")
    yield Finding("few-keep", name, ((only - 0.5) / above).mean(axis=1), "LeNet-5")
    for measure, curve in (("pearson", "r2"), ("cosine", "r2_cosine")):
        values = found.alike_in(measure=measure)
        for firing in (False, True):
            kept = units.at("poz", 0.8, values=curve, firing=firing)
            title = MEASURED[measure] + firing * ", of units that fire"
            yield Finding("contrast", name, kept - values[:, found.place("imp", 1)], title)
            yield Finding("contrast-again", name, kept - found.control("imp", 1, values), title)
    trimmed, on = (found.alike_in()[:, found.place(m, 1)] for m in ("trim", "on"))
    yield Finding("contrast-again", name, trimmed - on, "trimmed and trained on, against trained on")


def _largest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest value of each row; NaN where the row has none."""
    return np.where(np.isfinite(values).any(axis=1), np.nanmax(np.nan_to_num(values, nan=-1), axis=1), np.nan)


def verdicts(findings: Iterable[Finding]) -> pd.DataFrame:
    """Findings beside the paper's claims, with verdicts.

    Parameters
    ----------
    findings
        What was measured. The verdict is on the claim's statistic over instances. It is that of every value
        in the 95 % interval, and where these differ, undecided; without an interval it is that of the value
        alone, and undecided where only an interval could say that something is positive. It is withheld
        for a median where fewer than half of the instances have a value, for those would be a selection.

    Returns
    -------
    DataFrame
        A row for each finding: ``id, claim, paper, images, convention``; ``ours``, the statistic;
        ``low, high``, its 95 % interval (of the median over instances: from order statistics, so
        exact whatever the distribution, and empty for fewer than six; empty for the largest value);
        ``from, to``, 5 % and 95 % quantiles of the instances; ``instances``; ``undefined``, how many
        have no value; ``within``, how many lie in the range that counts as reproduced; ``beyond``,
        whether the claim is about other images; ``counted``, whether the paper gives a number or a direction
        (:attr:`rarefire.page.claims.Claim.counted`); ``verdict``; ``of value``, that of the value alone;
        ``between``, where it is undecided, the verdicts in question, joined by “or”; ``by``, ``interval`` or
        ``value``, what decides, empty where there is neither; ``late``, whether it hangs on a range or
        a way of reading (:data:`LATE`) that was added after results had been seen.
    """
    known = claims.everyones()
    rows: list[dict[str, Any]] = []
    for finding in findings:
        if finding.claim not in known:
            raise unknown("claim", finding.claim, list(known))
        claim = known[finding.claim]
        values = np.atleast_1d(np.asarray(finding.values, dtype=np.float64))
        if values.ndim != 1:
            raise InputError(f"{claim.id}: expected one value per instance, got shape {values.shape}.")
        finite = values[np.isfinite(values)]
        largest = claim.statistic == "largest"
        ours = float((np.max if largest else np.median)(finite)) if len(finite) else math.nan
        low, high = finding.interval or ((math.nan, math.nan) if largest else _of_median(finite))
        start, end = np.quantile(finite, [0.05, 0.95]) if len(finite) > 1 else (math.nan, math.nan)
        least = 1 if largest else len(values) / 2
        selected = len(values) > 1 and len(finite) < least
        of_value = claims.UNDEFINED if selected else claims.verdict(claim, ours)
        verdict, between, by = of_value, "", ""
        late = False
        if len(finite) and not selected:
            verdict, between, by = _decide(claim, of_value, low, high)
            late = finding.convention in LATE or claim.is_late(verdict)
        rows.append(
            {
                "id": claim.id,
                "claim": claim.reading,
                "paper": claim.value,
                "images": finding.images,
                "convention": finding.convention,
                "ours": ours,
                "low": low,
                "high": high,
                "from": start,
                "to": end,
                "instances": len(values),
                "undefined": len(values) - len(finite),
                "within": int(((finite >= claim.low - EDGE) & (finite <= claim.high + EDGE)).sum()),
                "beyond": not claim.is_about(finding.images),
                "counted": claim.counted,
                "verdict": verdict,
                "of value": of_value,
                "between": between,
                "by": by,
                "late": late,
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _decide(claim: claims.Claim, of_value: str, low: float, high: float) -> tuple[str, str, str]:
    """The verdict; where it is undecided, between which; and whether interval or value has decided."""
    within = claims.verdicts_within(claim, low, high)
    if len(within) == 1:
        return within[0], "", "interval"
    if within:
        return claims.UNDECIDED, " or ".join(within), "interval"
    if claim.statistic == "positive":  # without an interval anything is possible
        return claims.UNDECIDED, " or ".join(claims.verdicts_within(claim, -1, 1)), ""
    return of_value, "", "value"


def _of_median(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the median of a distribution of any shape; NaN for fewer than six values."""
    if not len(values):
        return math.nan, math.nan
    low, high = stats.quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    return float(low), float(high)


def geometry_verdicts(
    ensembles: Iterable[Ensemble], conventions: Iterable[str] = ("strict",)
) -> pd.DataFrame:
    """Verdicts on figure 1a–c for several ensembles, each read in several ways.

    Parameters
    ----------
    ensembles
        The ensembles.
    conventions
        Of :data:`CONVENTIONS`.
    """
    ways = list(conventions)
    return verdicts(f for each in ensembles for way in ways for f in geometry(each, convention=way))


def readings(ensembles: Iterable[Ensemble]) -> pd.DataFrame:
    """Verdicts on figure 1a–c, read in all of :data:`WAYS`.

    PoZ does not depend on what is compared, only on which images it is counted on: that is its convention.

    Parameters
    ----------
    ensembles
        The ensembles.
    """
    card = geometry_verdicts(ensembles, WAYS)
    on = {"authors": "PoZ on the same images", "strict": "PoZ on held-out images"}
    rare = card["id"] == "poz-80"
    card["convention"] = card["convention"].mask(rare, card["convention"].replace(on))
    return card[~rare | card["convention"].isin(on.values())].reset_index(drop=True)


def on_the_paper(card: pd.DataFrame) -> pd.DataFrame:
    """What counts for or against reproduction: what the paper states, on its own image sets."""
    return card[card["counted"] & ~card["beyond"]]


def tally(card: pd.DataFrame) -> str:
    """How many lines of a scorecard have which verdict, in words; of the undecided, between which."""
    said = []
    for verdict in claims.VERDICTS:
        own = card[card["verdict"] == verdict]
        between = own["between"][own["between"] != ""].value_counts(sort=False).sort_index(ascending=False)
        either = [f"{n} {cards.short(text)}" for text, n in between.items()]
        if len(either) == 1:
            either = [cards.short(between.index[0])]
        if len(own):
            said.append(f"{len(own)} {verdict}" + (f" ({', '.join(either)})" if either else ""))
    return ", ".join(said)


def in_short(card: pd.DataFrame) -> str:
    """One sentence: how many readings of statements are reproduced, and how many are not.

    Parameters
    ----------
    card
        Lines of a scorecard that test statements of papers, as :func:`on_the_paper` chooses them.

    Returns
    -------
    str
        What is neither reproduced, in direction or not, is open.

    Raises
    ------
    InputError
        If the card has no line.
    """
    if not len(card):
        raise InputError("card has no line: give one that tests a statement of a paper.")
    n = {verdict: int((card["verdict"] == verdict).sum()) for verdict in claims.VERDICTS}
    right, partly, wrong = n[claims.REPRODUCED], n[claims.DIRECTION], n[claims.NOT_REPRODUCED]
    direction = f", {partly} in direction" if partly else ""
    either = (
        f"{right} of {len(card)} readings of what the papers state are reproduced{direction}, {wrong} not"
    )
    return f"{either}; {len(card) - right - partly - wrong} stay open."


def labelled(card: pd.DataFrame) -> pd.DataFrame:
    """A scorecard whose image sets are named for readers (:data:`rarefire.page.palette.LABELS`)."""
    return card.assign(images=card["images"].map(lambda name: LABELS.get(name, name)))


def of_groups(card: pd.DataFrame, *groups: str) -> pd.DataFrame:
    """The claims of some groups, in the order of ``data/paper.csv``, with names for readers.

    Parameters
    ----------
    card
        From :func:`verdicts`.
    *groups
        As in :class:`rarefire.page.claims.Claim`.

    Returns
    -------
    DataFrame
        The same columns: image sets as by :func:`labelled`, conventions as in :data:`WAYS`.
    """
    known = claims.everyones()
    absent = set(groups) - {claim.group for claim in known.values()}
    if absent:
        raise unknown("group", min(absent), sorted({claim.group for claim in known.values()}))
    some = card[[known[name].group in groups for name in card["id"]]]
    some = some.sort_values("id", key=lambda ids: ids.map(list(known).index), kind="stable")
    return labelled(some).assign(convention=some["convention"].replace(WAYS))


def readable(card: pd.DataFrame, *columns: str, digits: int = 2) -> pd.DataFrame:
    """A scorecard for readers: its numbers and verdicts as text, and only these columns.

    Parameters
    ----------
    card
        From :func:`verdicts`.
    *columns
        Of the result, in order: ``ours``, ``95 %``, ``90 % of instances`` and the texts of `card`; the
        verdict as by :func:`rarefire.page.cards.words`.
    digits
        Of numbers, at least; and as many as it takes for what is written to have the verdict of the number.
    """
    known, rows = claims.claims(), card.to_dict("records")
    asked = [functools.partial(claims.verdict, known[row["id"]]) for row in rows]
    forms = [functools.partial(number, digits=digits, keeps=verdict) for verdict in asked]
    each = list(zip(rows, forms, strict=True))
    texts = {
        "ours": ["–" if math.isnan(row["ours"]) else form(row["ours"]) for row, form in each],
        "95 %": [interval(row["low"], row["high"], form) for row, form in each],
        "90 % of instances": [interval(row["from"], row["to"]) for row in rows],
        "verdict": [cards.words(row) for row in rows],
    }
    absent = [name for name in columns if name not in card.columns and name not in texts]
    if absent:
        raise unknown("column", absent[0], list(dict.fromkeys([*card.columns, *texts])))
    return card.assign(**texts)[list(columns)]


def gains(tests: pd.DataFrame) -> pd.DataFrame:
    """What the best k gains, from the naive test to the valid one, for readers.

    Parameters
    ----------
    tests
        From :func:`rarefire.records.people.verdicts`.
    """
    return pd.DataFrame(
        {
            "features": _order(tests),
            "gain": tests["gain"].map(signed),
            "naive p": tests["naive p"].map(p_value),
            "p, any slice": tests["p"].map(p_value),
            "Holm": tests["holm"].map(p_value),
            "chosen elsewhere": tests["chosen D"].map(signed),
            "95 %": [
                interval(*ends, signed)
                for ends in zip(tests["chosen low"], tests["chosen high"], strict=True)
            ],
        }
    )


def decided(tests: pd.DataFrame) -> pd.DataFrame:
    """D at each share that was decided on beforehand, a row for each view and order, for readers.

    Parameters
    ----------
    tests
        From :func:`rarefire.records.people.beforehand`. A star where D differs from 0, a dagger where the
        order differs from random ones, at .05 with Holm's adjustment.
    """
    star, dagger = (
        np.where(tests[p] < 0.05, mark, "").astype(object)
        for p, mark in (("holm", "*"), ("chance holm", "†"))
    )
    said = pd.DataFrame(
        {
            "features": _order(tests),
            "share": tests["share"].map("D at {:.0%}".format),
            "D": tests["estimate"].map(signed) + star + dagger,
        }
    )
    return _spread(said, ["features"], "share", "D")


def changes(tests: pd.DataFrame) -> pd.DataFrame:
    """What leaving features out changes at class level, for readers.

    Parameters
    ----------
    tests
        From :meth:`rarefire.records.people_by_class.ClassLevel.changes`.
    """
    order = zip(tests["share"], tests["kind"], strict=True)
    return pd.DataFrame(
        {
            "features": [f"{share:.0%}, {ARROWS[kind]}" for share, kind in order],
            "r": tests["r kept"].map("{:.2f}".format),
            "r, all": tests["r all"].map("{:.2f}".format),
            "D": tests["D"].map(signed),
            "95 %": _ends(tests),
            "Holm": tests["holm"].map(p_value),
        }
    )


def separations(tests: pd.DataFrame) -> pd.DataFrame:
    """How well ghosts and other scores separate categories, AUCs, for readers.

    Parameters
    ----------
    tests
        From :func:`rarefire.records.ghosts.retrieved`. A star where a score differs from ghosts, at .05 with
        Holm's adjustment.
    """
    titles = {"random": "random", "active": "most active", "random mean": "mean, few", "mean": "mean"}
    outside = {"judged": "other cut-outs", "gallery": "gallery"}
    said = pd.DataFrame(
        {
            "category": tests["category"],
            "against": tests["place"].map(outside),
            "ghosts": tests["ghosts"].map("{:.2f}".format),
            "score": tests["query"].map(titles),
            "auc": tests["other"].map("{:.2f}".format)
            + np.where(tests["holm"] < 0.05, "*", "").astype(object),
        }
    )
    return _spread(said, ["category", "against", "ghosts"], "score", "auc")


def _order(tests: pd.DataFrame) -> pd.Series:
    """View and order of each row."""
    return tests["view"].map(records.people.TITLES) + ", " + tests["kind"].map(ARROWS)


def _ends(tests: pd.DataFrame) -> list[str]:
    return [interval(low, high, signed) for low, high in zip(tests["low"], tests["high"], strict=True)]


def _spread(rows: pd.DataFrame, down: list[str], across: str, cell: str) -> pd.DataFrame:
    """Rows as a table, in the order in which they come."""
    wide = rows.pivot_table(index=down, columns=across, values=cell, aggfunc="first", sort=False)
    return wide.reset_index().rename_axis(None, axis=1)


def recorded(values: Mapping[str, float]) -> HTML:
    """Numbers of this build beside those of the recorded runs, as a table of the page.

    Parameters
    ----------
    values
        As for :func:`rarefire.page.claims.check_recorded`; where there are none, a sentence says so.

    Raises
    ------
    DataError
        Where one is further off than networks trained anew on another processor may be.
    """
    if not values:
        return HTML("<p>Fewer than fifty networks: not held against the recorded runs.</p>")
    check = claims.check_recorded(values)
    if not check["same"].all():
        off = check.index[~check["same"].astype(bool)]
        raise DataError(f"no longer what the recorded runs found:\n{check.loc[off].to_string()}")
    caption = (
        "<strong>This build against the recorded runs.</strong> Tolerance: what fifty networks of another "
        "processor, trained anew, may be off (four standard errors of a difference of medians)."
    )
    return table(check.reset_index(), name="recorded", digits=3, caption=caption)
