"""Tables of the chapter on pruning, and its numbers in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from rarefire import inference, poz, records, units
from rarefire.page.frame import interval, number, signed
from rarefire.page.palette import LABELS
from rarefire.page.scorecard import THEIRS
from rarefire.pruning import METHODS
from rarefire.records.pruned import Pruned, Units

__all__ = [
    "ORDERS",
    "classes",
    "counts",
    "fewer",
    "halves",
    "leaves",
    "middle",
    "needed",
    "once",
    "side",
    "terms",
    "tickets",
    "told",
]

#: Orders of units, as they are called.
ORDERS = {
    "poz": "PoZ",
    "mean": "mean",
    "sd": "SD",
    "entropy": "entropy",
    "norm": "norm of reading weights",
    "taylor": "Taylor",
    "ablation": "ablation",
    "random": "random",
}


def middle(
    sets: Mapping[str, Pruned],
    values: Callable[[Pruned], NDArray[Any]],
    method: str,
    round_: int | None = None,
) -> dict[str, float]:
    """Median over networks of a round of a method (default: its last), by image set.

    Parameters
    ----------
    sets
        By image set.
    values
        Gives ``(I, N)``.
    method, round_
        Which networks.
    """
    return {
        name: float(
            np.median(values(e)[:, e.place(method, e.numbers(method)[-1] if round_ is None else round_)])
        )
        for name, e in sets.items()
    }


def told(values: Mapping[str, float], form: Callable[[float], str] = number, *, nan: str = "") -> str:
    """A number for each image set, in words: ``0.97 (MNIST), 0.98 (digits)``.

    Parameters
    ----------
    values
        By image set.
    form
        Writes a number.
    nan
        Stands where there is none; by default the image set is left out.
    """
    texts = {n: nan if np.isnan(v) else form(v) for n, v in values.items()}
    return ", ".join(f"{text} ({LABELS.get(n, n)})" for n, text in texts.items() if text)


def side(values: NDArray[np.floating]) -> str:
    """Where the 95 % interval of a mean over networks (t) lies to 0: ``above``, ``below``, ``around``."""
    found = inference.seed_interval(np.asarray(values, dtype=np.float64)[:, None])
    if found.low[0] > 0:
        return "above"
    return "below" if found.high[0] < 0 else "around"


def leaves(found: Pruned, method: str) -> float:
    """Share of the weights from which on a method moves the geometry more than its control; NaN: never.

    The first round whose 95 % interval of the excess (t, over networks) is above 0, as are those after it.

    Parameters
    ----------
    found
        Networks of one image set.
    method
        Of :data:`rarefire.pruning.METHODS`.
    """
    first = np.nan
    for n in reversed(found.numbers(method)):
        if not inference.seed_interval(found.excess(method, n)[:, None]).low[0] > 0:
            break
        first = float(np.median(found.share[:, found.place(method, n)]))
    return first


def terms(sets: Mapping[str, Pruned]) -> pd.DataFrame:
    """:meth:`rarefire.records.pruned.Pruned.on_equal_terms` of several image sets, with names for readers.

    Returns
    -------
    DataFrame
        Its columns, and ``images``, ``title`` of the method, ``text`` of the excess with its interval.
    """
    every = [e.on_equal_terms().assign(images=LABELS.get(n, n), name=n) for n, e in sets.items()]
    table = pd.concat(every, ignore_index=True)
    ends = table[["excess", "low", "high"]].to_numpy()
    text = [f"{signed(e)} ({interval(lo, hi, signed)})" if np.isfinite(e) else "–" for e, lo, hi in ends]
    return table.assign(title=table["method"].map(lambda m: METHODS[m].title), text=text)


def halves(found: Pruned) -> pd.DataFrame:
    """Canonical correlations of seven layers: theirs, ours, and those of the controls.

    Theirs are :data:`rarefire.page.scorecard.THEIRS`; controls were trained on without pruning.

    Parameters
    ----------
    found
        Of the setting ``"halves"``.

    Returns
    -------
    DataFrame
        A row for each layer: ``layer``; for each round ``theirs``, ``ours`` with the share of weights left,
        and ``control``; ``chance``. Ours are medians over networks.
    """
    columns: dict[str, Any] = {"layer": list(found.layers)}
    for n, (share, values) in enumerate(THEIRS.items(), start=1):
        columns[f"theirs, {share:.0%}"] = values
        for method, title in (("lrr", f"ours, {share:.0%}"), ("on", f"control {n}")):
            place = found.place(method, n)
            columns[title] = [np.median(found.alike_in(layer, "cca")[:, place]) for layer in found.layers]
    return pd.DataFrame({**columns, "chance": np.median(found.chance, axis=0)})


def needed(found: Mapping[str, Units]) -> pd.DataFrame:
    """How few units keep accuracy (within one point) and geometry (R² within .05), by order.

    Returns
    -------
    DataFrame
        A row for each image set and order: ``images, order``; medians over networks of ``share for
        accuracy``, ``share for geometry``, and ``R² there``, at the first share for accuracy.
    """
    rows = []
    for name, each in found.items():
        for order, title in ORDERS.items():
            right = each.needed(order, values="accuracy", short=0.01)
            whole = each.needed(order, values="r2", short=0.05)
            curve = each.r2[:, list(ORDERS).index(order)]
            there = [row[round(share * len(row)) - 1] for row, share in zip(curve, right, strict=True)]
            rows.append(
                {
                    "images": LABELS.get(name, name),
                    "order": title,
                    "share for accuracy": np.median(right),
                    "share for geometry": np.median(whole),
                    "R² there": np.median(there),
                }
            )
    return pd.DataFrame(rows)


def fewer(found: Mapping[str, Units], values: str, short: float) -> str:
    """Orders that need fewer units than PoZ's, by how much, where the 95 % interval (t) excludes 0.

    Parameters
    ----------
    found
        By image set.
    values, short
        As for :meth:`rarefire.records.pruned.Units.needed`.
    """
    said = []
    for name, each in found.items():
        reference = each.needed("poz", values=values, short=short)
        better = []
        for order, title in ORDERS.items():
            if order == "poz":
                continue
            saved = inference.seed_interval(
                (reference - each.needed(order, values=values, short=short))[:, None]
            )
            if saved.low[0] > 0:
                better.append(f"{title} {saved.estimate[0]:.0%}")
        said.append(f"{', '.join(better) or 'none'} ({LABELS.get(name, name)})")
    return "; ".join(said)


def classes(found: Mapping[str, Units]) -> pd.DataFrame:
    """What a class loses without its most important units, and what units that fire rarely carry.

    Returns
    -------
    DataFrame
        A row for each image set. Balanced accuracy, mean over classes: ``whole``, ``without its 3``,
        ``without any 3``, ``with its 3 only``. ``rare``, how many units of all networks fire for few images;
        medians of the ``largest loss`` of any class without one of them, and without one ``of others``;
        ``ρ with PoZ``, Spearman's over units that fire.
    """
    rows = []
    for name, each in found.items():
        whole, without, only, drawn = np.median(each.classes.mean(axis=2), axis=0)
        largest, fires = each.lost.max(axis=2), each.poz < 1
        rare = fires & (each.poz > poz.RARE)
        triples = zip(each.poz, largest, fires, strict=True)
        rho = [stats.spearmanr(p[f], v[f]).statistic for p, v, f in triples]
        rows.append(
            {
                "images": LABELS.get(name, name),
                "whole": whole,
                "without its 3": without,
                "without any 3": drawn,
                "with its 3 only": only,
                "rare": int(rare.sum()),
                "largest loss": np.median(largest[rare]) if rare.any() else np.nan,
                "of others": np.median(largest[fires & ~rare]),
                "ρ with PoZ": np.median(rho),
            }
        )
    return pd.DataFrame(rows)


def counts(found: Mapping[str, Units]) -> pd.DataFrame:
    """Fano factors relative to PoZ, of images shuffled and class by class; medians over units that fire.

    Returns
    -------
    DataFrame
        A row for each image set: ``images``; Fano factor ÷ PoZ ``shuffled``, ``class by class`` and
        ``expected`` from selectivity; ``selectivity``, and its ``ρ with PoZ``, Spearman's.
    """
    rows = []
    for name, each in found.items():
        fires = each.poz < 1
        expected = units.expected_fano(each.poz, each.selectivity, window=records.pruned.WINDOW)
        blocks, shuffled = np.moveaxis(each.fano, 1, 0)
        parts = {"shuffled": shuffled, "class by class": blocks, "expected": expected}
        some = fires & (each.poz > 0)
        row = {title: np.nanmedian(values[some] / each.poz[some]) for title, values in parts.items()}
        both = fires & np.isfinite(each.selectivity)  # units that always fire have none
        triples = zip(each.poz, each.selectivity, both, strict=True)
        rho = [stats.spearmanr(p[b], s[b]).statistic for p, s, b in triples]
        row |= {"selectivity": np.nanmedian(each.selectivity[fires]), "ρ with PoZ": np.median(rho)}
        rows.append({"images": LABELS.get(name, name), **row})
    return pd.DataFrame(rows)


def once(table: pd.DataFrame, column: str = "images") -> pd.DataFrame:
    """A name that is the same as in the row above is left out, for readers."""
    return table.assign(**{column: table[column].where(table[column] != table[column].shift(), "")})


def tickets(found: Pruned, rounds: tuple[int, ...] = (7, 9, 15)) -> pd.DataFrame:
    """Lottery tickets and the same masks with new weights: when they stop, and how good they are.

    Parameters
    ----------
    found
        Of the setting ``"tickets"``.
    rounds
        Of both.

    Returns
    -------
    DataFrame
        A row for the dense network and each round: ``weights left``; medians of ``steps`` to the least loss
        and means of ``accuracy, %``, both of new weights too.
    """
    rows = []
    for n in (0, *rounds):
        places = {"": found.place("imp", n)} | (
            {", new weights": found.place("reinitialised", n)} if n else {}
        )
        row: dict[str, Any] = {"weights left": f"{np.median(found.share[:, places['']]):.1%}"}
        row |= {f"steps{k}": np.median(found.stop[:, i]) * 100 for k, i in places.items()}
        row |= {f"accuracy, %{k}": 100 * found.accuracy[:, i].mean() for k, i in places.items()}
        rows.append(row)
    columns = ["weights left", "steps", "steps, new weights", "accuracy, %", "accuracy, %, new weights"]
    return pd.DataFrame(rows)[columns]
