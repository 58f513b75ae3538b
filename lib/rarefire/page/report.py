"""What was measured of a network of one's own, as one page that works offline and from disk.

Each section of :class:`rarefire.records.report.Measured` becomes a :class:`Section`: a sentence with what was
found, figures and widgets, and tables.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rarefire import inference, poz, subnetworks
from rarefire.curves import count
from rarefire.page import frame, plots
from rarefire.page.explorer import Explorer, Scene
from rarefire.page.frame import enumerated, interval, number, p_value, signed
from rarefire.page.pairs import PairMap
from rarefire.page.palette import COLOURS
from rarefire.page.reader import GhostReader, Shelf, sheet_numbers
from rarefire.page.widgets import PageWidget, PozHistogram, document, figure
from rarefire.rdm import square
from rarefire.records.report import MAGNITUDE, ORDERS, SECTIONS, SHARES, Measured
from rarefire.records.subnetworks import Shown
from rarefire.transport import square_map

__all__ = ["Section", "page", "sections", "tables"]

_SHOWN = 200  # images of an explorer, at most
_WORK = 2**28  # images² × features of an explorer: a step of the slider stays quick
_FEATURES = 4096  # of an explorer
_NAMED = 50  # categories that can be chosen in an explorer
_GROUPS = 12  # classes by which images of a layer map are sorted
_FEW_GHOSTS = 5  # of a category, below which their components are not compared with others
_TITLES = {"low": "low→high PoZ", "high": "high→low PoZ", "random": "random"}
_STYLE = """
main { max-width: 60rem; }
h2 {
  font-size: 1.25rem; font-weight: 600; margin: 2.6rem 0 0.5rem; padding-top: 1rem;
  border-top: 1px solid var(--pst-color-border, #c9c9c9);
}
h1, h2, .rf-about, .rf-finding, .rf-note, figcaption { overflow-wrap: anywhere; }
.rf-report-nav {
  display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; padding: 0; margin: 0.8rem 0 0; list-style: none;
  font-size: 0.9rem;
}
.rf-finding { font-size: 1.05rem; max-width: 46rem; margin: 0.2rem 0 1rem; }
.rf-missing { opacity: 0.8; font-style: italic; }
.rf-about, .rf-note { max-width: 46rem; font-size: 0.9rem; }
.rf-note { margin: 0.2rem 0; }
.rf-figure { margin: 0.6rem 0 1.2rem; }
details { margin: 0.4rem 0 1.2rem; font-size: 0.9rem; }
summary { cursor: pointer; }
footer { margin-top: 3rem; font-size: 0.85rem; max-width: 46rem; overflow-wrap: anywhere; }
"""


@dataclass
class Section:
    """One section of a report.

    Attributes
    ----------
    name
        Of :data:`rarefire.records.report.SECTIONS`.
    finding
        What was found, in a sentence; or why there is nothing, where `missing`.
    more
        What else is to be said.
    body
        HTML: figures, and the places of widgets.
    widgets
        What moves in it.
    tables
        By name.
    missing
        Whether the section could not be made.
    """

    name: str
    finding: str
    more: str = ""
    body: str = ""
    widgets: list[PageWidget] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    missing: bool = False


def sections(found: Measured) -> list[Section]:
    """The sections that were asked for, in order."""
    makers: dict[str, Callable[[Measured], Section]] = {
        "silence": _silence,
        "histogram": _histogram,
        "curves": _curves,
        "explorer": _explorer,
        "ghosts": _ghosts,
        "dimension": _dimension,
        "layers": _layers,
        "pruning": _pruning,
        "people": _people,
    }
    made = []
    for name in found.sections:
        if name in found.missing:
            why = found.missing[name]
            made.append(Section(name, why[:1].upper() + why[1:], missing=True))
        else:
            made.append(makers[name](found))
    return made


def tables(made: Sequence[Section]) -> dict[str, pd.DataFrame]:
    """All tables by name, in order."""
    return {name: table for section in made for name, table in section.tables.items()}


def page(found: Measured, made: Sequence[Section], *, about: str, origin: str) -> bytes:
    """A report as one HTML file.

    Parameters
    ----------
    found, made
        What was measured, and :func:`sections` of it.
    about
        What it is of: a sentence.
    origin
        Where the numbers come from: command, versions.

    Returns
    -------
    bytes
        The same for the same numbers.
    """
    say = html.escape
    parts = [f'<p class="rf-about">{say(about)}</p>']
    links = "".join(f'<li><a href="#{s.name}">{say(SECTIONS[s.name])}</a></li>' for s in made)
    parts.append(f'<nav aria-label="Sections"><ul class="rf-report-nav">{links}</ul></nav>')
    for section in made:
        kind = " rf-missing" if section.missing else ""
        more = f'<p class="rf-note">{say(section.more)}</p>' if section.more else ""
        parts.append(
            f'<section id="{section.name}"><h2>{say(SECTIONS[section.name])}</h2>'
            f'<p class="rf-finding{kind}">{say(section.finding)}</p>{more}'
            f"{section.body}{_links(section)}</section>"
        )
    said = "".join(f"<li>{say(text)}</li>" for text in found.warnings)
    said = f"<details open><summary>Warnings</summary><ul>{said}</ul></details>" if said else ""
    parts.append(
        f'<footer>{said}<p>{say(origin)} <a href="report.json">report.json</a> has all of it.</p></footer>'
    )
    shown = [widget for section in made for widget in section.widgets]
    return document("".join(parts), shown, title=found.given.title, styles=_STYLE)


def _links(section: Section) -> str:
    if not section.tables:
        return ""
    links = ", ".join(f'<a href="tables/{name}.csv" download>{name}.csv</a>' for name in section.tables)
    return f'<p class="rf-note">Tables: {links}</p>'


def _join(*parts: Any) -> str:
    return "".join(part if isinstance(part, str) else str(part.data) for part in parts)


def _of(share: float) -> str:
    """A share, in per cent."""
    percent = 100 * share
    return f"{percent:.0f}\u00a0%" if percent >= 9.95 or percent == 0 else f"{percent:.1f}\u00a0%"


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _title(found: Measured, layer: str) -> str:
    """Of one of the layers that were asked for."""
    return found.given.title if found.given.network is None else layer


# --- silence -------------------------------------------------------------------------------------


def _silence(found: Measured) -> Section:
    n = found.given.n
    own = pd.DataFrame([_own(found, layer) for layer in found.features])
    first = own.iloc[0]
    said = (
        f"Of the {first['features']:,} features of {first['layer']}, {_of(first['rare'])} are silent for "
        f"more than "
        f"{_of(poz.RARE)} of the {n:,} images, {_of(first['dead'])} for all of them; mean PoZ is "
        f"{_of(first['poz'])}."
    )
    more = ""
    if first["apoz"] == first["apoz"]:
        more = (
            f"Pooling hides how silent they are: before the average over positions is taken, "
            f"{_of(first['apoz'])} of the numbers are 0 (APoZ), and {_of(first['rare_before'])} of the "
            f"channels "
            "are rare; pooled, a channel is silent only where all of its positions are."
        )
    section = Section("silence", said, more, tables={"features": own})
    if not found.relus:
        if found.given.network is not None:
            section.more += " No ReLU was seen in the network."
        return _with(section, frame.table(_readable(own), name="features", caption="What is looked at."))
    table = pd.DataFrame([each.row() for each in found.relus])
    most = table.loc[table["apoz"].idxmax()]
    dead, channels = int(np.sum([np.sum(r.pooled == 1) for r in found.relus])), int(table["channels"].sum())
    section.more += (
        f" The network has {_many(len(table), 'ReLU')}. The most silent is {most['layer']}: "
        f"{_of(most['apoz'])} of what it gives is 0. {dead:,} of {channels:,} channels never fire for "
        f"any of these images."
    )
    if found.smooth:
        others = enumerated([f"{name} ({_many(n_calls, 'call')})" for name, n_calls in found.smooth.items()])
        section.more += f" Elsewhere it has {others}, which are hardly ever exactly 0 and have no PoZ."
    section.tables = {"relus": table, "features": own}
    caption = (
        "PoZ of every ReLU, in the order in which they run: the share of zeros over images and positions "
        "(filled), "
        "and of images for which a channel is silent everywhere (hollow): what is left of it once it is "
        "pooled. "
        "Bars: channels that are rare, silent for more than 80 % before pooling; crosses: dead ones."
    )
    alt = f"PoZ of {len(table)} ReLUs, from {_of(table['apoz'].min())} to {_of(table['apoz'].max())}."
    legend = {"before pooling (APoZ)": "low", "pooled": "high", "rare channels": "random"}
    drawn = frame.show(
        _relu_panel(table), name="relus", alt=alt, caption=caption, numbers=table, legend=legend
    )
    listing = frame.table(_readable(table), name="relu-table", caption=f"Every ReLU, over {n:,} images.")
    return _with(section, drawn, f"<details><summary>Every ReLU</summary>{listing.data}</details>")


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Without empty columns, and with words above the others."""
    names = {"poz": "mean PoZ", "apoz": "APoZ", "poz_pooled": "PoZ pooled", "rare_pooled": "rare pooled"}
    names |= {"rare_before": "rare before pooling", "two_nn": "TwoNN", "two_nn_se": "standard error"}
    names |= {"participation_ratio": "participation ratio"}
    return table.dropna(axis=1, how="all").rename(columns=names)


def _own(found: Measured, layer: str) -> dict[str, Any]:
    rates, before = found.poz[layer], found.apoz.get(layer)
    return {
        "layer": _title(found, layer),
        "features": len(rates),
        "poz": float(rates.mean()),
        "rare": float((rates > poz.RARE).mean()),
        "dead": float((rates == 1).mean()),
        "apoz": float("nan") if before is None else float(before.mean()),
        "rare_before": float("nan") if before is None else float((before > poz.RARE).mean()),
    }


def _relu_panel(table: pd.DataFrame) -> Figure:
    drawn, axes = plots.panel(min(6.5, 2.6 + 0.13 * len(table)), 2.5)
    x = np.arange(1, len(table) + 1)
    axes.bar(x, table["rare"], color=COLOURS["random"], alpha=0.35, width=0.7)
    axes.plot(x, table["apoz"], color=COLOURS["low"], marker="o", markersize=4, linewidth=1)
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "fillstyle": "none", "linewidth": 1}
    axes.plot(x, table["poz_pooled"], color=COLOURS["high"], **style)
    gone = table["dead"].to_numpy() > 0
    axes.plot(x[gone], table["dead"][gone], "x", color=COLOURS["peak"], markersize=5)
    axes.set(xlabel="ReLU, in order", ylabel="share", ylim=(0, 1.02), xlim=(0.3, len(x) + 0.7))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plots.percent(axes, "y")
    return drawn


def _with(section: Section, *parts: Any) -> Section:
    section.body += _join(*parts)
    return section


# --- histogram -----------------------------------------------------------------------------------


def _histogram(found: Measured) -> Section:
    sets, lines = {}, []
    for layer, rates in found.poz.items():
        sets[_title(found, layer)] = ("low", rates[None], [found.given.seed])
        before = found.apoz.get(layer)
        if before is not None:
            sets[f"{layer}, before pooling (APoZ)"] = ("high", before[None], [found.given.seed])
        lines.append(
            pd.DataFrame({"layer": _title(found, layer), "feature": np.arange(len(rates)), "poz": rates})
        )
        lines[-1]["apoz"] = np.nan if before is None else before
    layer, rates = next(iter(found.poz.items()))
    rare, dead = int((rates > poz.RARE).sum()), int((rates == 1).sum())
    said = (
        f"{rare:,} of {len(rates):,} features of {_title(found, layer)} lie above the threshold of 80 %, "
        f"{dead:,} of them never fire for these {found.given.n:,} images."
    )
    drawn, axes = plots.panel(3.2, 2.2)
    plots.histogram(axes, rates, colour="low")
    axes.axvline(poz.RARE, color=COLOURS["high"], linewidth=1.2)
    axes.set(xlabel="PoZ", ylabel="features", xlim=(0, 1.02))
    caption = (
        "PoZ of every feature. Move the threshold: what lies above it is silent for more images than that."
    )
    still = frame.show(drawn, name="histogram", alt=said, caption=caption, numbers=pd.concat(lines))
    widget = PozHistogram(sets, name="histogram", caption=caption, fallback=still)
    return Section("histogram", said, "", figure(widget), [widget], {"poz": pd.concat(lines)})


# --- curves --------------------------------------------------------------------------------------


def _curves(found: Measured) -> Section:
    panels, lines = list[Figure](), list[pd.DataFrame]()
    said = more = ""
    for layer, arrays in found.curves.items():
        said, more = (said, more) if said else _result(found, layer, arrays)
        prefix = f"{layer}: " if len(found.curves) > 1 else ""
        ways = {
            "Pearson": (arrays["k"], "low", "high", "random"),
            "cosine": (arrays["k"], "low_cosine", "high_cosine", None),
            "silenced": (arrays["k"], "low_silenced", "high_silenced", None),
            "that fire": (arrays["firing_k"], "firing_low", "firing_high", "firing_random"),
        }
        for title, (k, low, high, drawn) in ways.items():
            panels.append(_nested(f"{prefix}{title}", k, arrays, low, high, drawn))
            columns = {"low": arrays[low], "high": arrays[high]}
            if drawn is not None:
                columns |= dict(zip(("random_5", "random", "random_95"), arrays[drawn], strict=True))
            table = pd.DataFrame({"layer": layer, "way": title, "k": k, "of": int(k[-1]), **columns})
            lines.append(table)
        if arrays["n_images"] < found.given.n:
            more += f" (Curves of {layer} are of {int(arrays['n_images']):,} images, evenly spaced.)"
    table = pd.concat(lines)
    caption = (
        "R² of the similarities of all pairs of images, between the first features of an order and all "
        "of them; "
        "grey: 5 to 95 % of random orders. Pearson and cosine of what is left when the others are removed; "
        "silenced: the others are set to 0 instead; that fire: the same among features that fire for an "
        "image."
    )
    legend = {_TITLES["low"]: "low", _TITLES["high"]: "high", _TITLES["random"]: "random"}
    drawn_all = frame.show(panels, name="curves", alt=said, caption=caption, numbers=table, legend=legend)
    return Section("curves", said, more, _join(drawn_all), tables={"curves": table})


def _nested(
    title: str, k: NDArray[Any], arrays: Mapping[str, NDArray[Any]], low: str, high: str, drawn: str | None
) -> Figure:
    panel, axes = plots.panel(2.0, 2.05, title=title)
    x = k / k[-1]
    if drawn is not None:
        axes.fill_between(
            x, arrays[drawn][0], arrays[drawn][2], color=COLOURS["random"], alpha=0.25, linewidth=0
        )
        axes.plot(x, arrays[drawn][1], color=COLOURS["random"], linewidth=1.2)
    for name, colour in ((low, "low"), (high, "high")):
        axes.plot(x, arrays[name], color=COLOURS[colour], linewidth=1.5)
    axes.set(xlabel="share of features", ylabel="R²", xlim=(0, 1), ylim=(0, 1.02))
    plots.percent(axes, "x", ticks=2)
    return panel


def _result(found: Measured, layer: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[str, str]:
    """The result in one sentence, and its twins."""

    def at(name: str, share: float, k: str = "k") -> float:
        where = int(np.flatnonzero(arrays[k] == count(share, int(arrays[k][-1])))[0])
        return float(arrays[name][where])

    def r2(value: float) -> str:
        return number(value) if value == value else "undefined"

    n_features = int(arrays["k"][-1])
    random = [_at_random(arrays, "random", "k", 0.8, i) for i in (0, 2)]
    whole, band = at("low", 0.8), interval(random[0], random[1])
    if not np.isfinite([whole, *random]).all():
        verdict = "which cannot be compared with random ones"
    elif whole > random[1]:
        verdict = "less than random features would"
    elif whole < random[0]:
        verdict = "more than random features would"
    else:
        verdict = "as much as random features would"
    alone = at("high", 0.2)
    alone_said = (
        f"alone, they keep R² = {r2(alone)}"
        if alone == alone
        else "alone, they leave fewer than half of the images a similarity"
    )
    said = (
        f"Leaving out the rarest 20 % of the {n_features:,} features of {_title(found, layer)} keeps R² = "
        f"{r2(whole)} of the geometry (90 % of random choices: {band}), so they matter "
        f"{verdict}; {alone_said}."
    )
    more = (
        f"Silenced instead of removed: R² = {r2(at('low_silenced', 0.8))} without the rarest, "
        f"{r2(at('high_silenced', 0.2))} with them alone. Among the {int(arrays['firing_k'][-1]):,} features "
        f"that fire: {r2(at('firing_low', 0.8, 'firing_k'))} and {r2(at('firing_high', 0.2, 'firing_k'))}."
    )
    return said, more


def _at_random(arrays: Mapping[str, NDArray[Any]], name: str, k: str, share: float, place: int) -> float:
    """A quantile of random orders."""
    where = int(np.flatnonzero(arrays[k] == count(share, int(arrays[k][-1])))[0])
    return float(arrays[name][place][where])


# --- explorer ------------------------------------------------------------------------------------


def _explorer(found: Measured) -> Section:
    given, scenes, notes = found.given, list[Scene](), list[str]()
    for layer, features in found.features.items():
        width = features.shape[1]
        columns = np.arange(width)
        if width > _FEATURES:
            columns = np.sort(np.random.default_rng(given.seed).choice(width, _FEATURES, replace=False))
        most = min(_SHOWN, int(np.sqrt(_WORK / len(columns))))
        rows = np.linspace(0, given.n - 1, min(given.n, most)).astype(np.intp)
        labelled = given.labels is not None and len(given.categories) <= _NAMED
        human = None if given.human is None else square(given.human.human)[np.ix_(rows, rows)]
        scenes.append(
            Scene(
                "images",
                f"{given.title}, {layer}" if given.network is not None else given.title,
                np.asarray(features[rows][:, columns], dtype=np.float64),
                poz=found.poz[layer][columns],
                labels=given.labels[rows] if labelled and given.labels is not None else None,
                names=[name[:80] for name in given.categories] if labelled else (),
                images=None if found.thumbnails is None else found.thumbnails[rows] / 255,
                human=human,
                ceiling=None if given.human is None else given.human.ceiling,
            )
        )
        if len(rows) < given.n:
            notes.append(f"{len(rows)} of {given.n:,} images, evenly spaced")
        if len(columns) < width:
            notes.append(f"{len(columns):,} of {width:,} features, drawn with seed {given.seed}")
    drawn = f" Shown: {', '.join(dict.fromkeys(notes))}; PoZ is over all." if notes else ""
    caption = f"What the first features of an order carry of the geometry of all of them.{drawn}"
    widget = Explorer(scenes, caption=caption, seed=given.seed, fraction=0.8)
    said = (
        f"Keep fewer features and see the dissimilarities of the images change: with the "
        f"{_TITLES['low']} order the "
        "geometry holds for long, or does not."
    )
    k = widget.curve().r2
    steps = widget.curve().k
    enough = np.flatnonzero(np.nan_to_num(k) >= 0.95)
    if len(enough):
        share = steps[enough[0]] / steps[-1]
        said = (
            f"The most active {_of(share)} of the features are enough for R² = .95 of the geometry of the "
            f"{len(np.asarray(scenes[0].embedding)):,} images shown; move the slider to see where it "
            f"breaks."
        )
    return Section("explorer", said, "", figure(widget), [widget])


# --- ghosts --------------------------------------------------------------------------------------


def _ghosts(found: Measured) -> Section:
    given = found.given
    shelves, lines, listing = list[Shelf](), list[pd.DataFrame](), list[dict[str, Any]]()
    pictures = None if found.thumbnails is None else dict(enumerate(found.thumbnails / np.float32(255)))
    names = list(given.names or [f"image {i}" for i in range(given.n)])
    for layer, read in found.ghosts.items():
        examples = None
        if found.thumbnails is not None:
            examples = {c: found.thumbnails[r["rows"]] / np.float32(255) for c, r in read.items()}
        title = f"{given.title}, {layer}" if given.network is not None else given.title
        own = Shelf("images", title, read, found.features[layer].shape[1], names, examples, pictures)
        shelves.append(own)
        for category, one in read.items():
            lines.append(sheet_numbers(own, category).assign(layer=layer, category=category))
            listing.append(
                {
                    "layer": layer,
                    "category": category,
                    "images": int(one["m"][-1]),
                    "ghosts": int(one["ghosts"][-1]),
                    "expected": float(one["expected"][-1]),
                    "dead": int(one["dead"]),
                    "next": float(one["chance"][0]),
                    "explained": float(one["explained"][-1, 0]),
                    "control": float(one["control"][-1, 0]),
                    "ceiling": float(one["ceiling"][-1, 0]),
                }
            )
    table = pd.DataFrame(listing)
    some = table[table["layer"] == table["layer"].iloc[0]]
    most, more = some.loc[some["ghosts"].idxmax()], ""
    n_ghosts, n_features = int(most["ghosts"]), next(iter(found.features.values())).shape[1]
    said = (
        f"Most ghosts has the category {most['category']}: {n_ghosts:,} of {n_features:,} features fire for "
        f"other images and for none of its {int(most['images'])}."
    )
    if most["ghosts"] == 0:
        said = (
            "No category has ghosts: every feature that fires at all fires for some image of each category."
        )
    elif n_ghosts < _FEW_GHOSTS:
        more = "These are too few to say more than random features do."
    elif np.isfinite([most["control"], most["ceiling"]]).all():
        alike = most["control"] >= most["ceiling"] - 0.05
        more = (
            f"Of the scores of its first component, as many random features that are no ghosts explain "
            f"{_of(most['control'])}, and of one another’s {_of(most['ceiling'])}: "
            + ("other features say the same." if alike else "ghosts say something of their own.")
        )
    sizes: Any = (
        np.bincount(given.labels, minlength=len(given.categories)) if given.labels is not None else []
    )
    if len(some) < len(sizes):
        more += (
            f" These are the {len(some)} largest of {len(sizes):,} categories, with at least three images."
        )
    widget = GhostReader(
        shelves,
        caption="The images that score highest on the components of a category’s ghosts: what it is not. "
        "The control says how much of it random features say too.",
        size=56,
        category=[*found.ghosts[some["layer"].iloc[0]]].index(most["category"]),
    )
    columns = ["category", "images", "ghosts", "next", "dead", "explained", "control", "ceiling"]
    shown = some[columns].rename(columns={"next": "fire for the next image", "explained": "first component"})
    caption = (
        "Ghosts of each category; the share of them that would fire for its next image, estimated by leaving "
        "one out; features that fire for no image; of the first component, its share of the ghosts’ variance "
        "over other images, how much of it as many random features explain (control, adjusted R²), and how "
        "much these explain of one another (ceiling)."
    )
    drawn = frame.table(shown, name="ghosts", caption=caption)
    return Section(
        "ghosts",
        said,
        more,
        _join(figure(widget), drawn),
        [widget],
        {"ghosts": table, "ghost_images": pd.concat(lines)},
    )


# --- dimension -----------------------------------------------------------------------------------


def _dimension(found: Measured) -> Section:
    table = found.dimensions
    assert table is not None
    n = int(table["images"].iloc[0])
    last = table.iloc[-1]
    if len(table) == 1:
        said = (
            f"The {n:,} images span about {number(last['two_nn'], digits=1)} dimensions (TwoNN, standard "
            f"error "
            f"{number(last['two_nn_se'], digits=1)}) of {int(last['features']):,}; the participation "
            f"ratio of the principal "
            f"components is {number(last['participation_ratio'], digits=1)}."
        )
        drawn: list[Any] = []
    else:
        peak = table.loc[table["two_nn"].idxmax()] if table["two_nn"].notna().any() else table.iloc[0]
        inside = 0 < int(peak.name) < len(table) - 1
        shape = "it rises and falls again" if inside else "it has no peak in between"
        said = (
            f"Intrinsic dimension (TwoNN, {n} images) is {number(table['two_nn'].iloc[0], digits=1)} in "
            f"{table['layer'].iloc[0]} and "
            f"{number(last['two_nn'], digits=1)} in {last['layer']}; the highest is "
            f"{number(peak['two_nn'], digits=1)} in "
            f"{peak['layer']}: {shape}."
        )
        drawn = [_dimension_panel(table)]
    caption = (
        f"Dimensions that {n} images"
        + (f", evenly spaced among {found.given.n:,}," if n < found.given.n else "")
        + " span: TwoNN with its standard error from halves of the images, and the participation ratio, "
        "which is linear." + _left_out(found)
    )
    parts = []
    if drawn:
        legend = {"TwoNN": "low", "participation ratio": "high"}
        parts.append(
            frame.show(drawn, name="dimension", alt=said, caption=caption, numbers=table, legend=legend)
        )
    parts.append(
        frame.table(
            _readable(table),
            name="dimension",
            caption=caption if not drawn else "The same in numbers.",
            digits=1,
        )
    )
    return Section("dimension", said, "", _join(*parts), tables={"dimension": table})


def _left_out(found: Measured) -> str:
    said = " At most ten steps of the network are taken, evenly." if found.given.network is not None else ""
    if found.large:
        said += f" Left out, being too wide: {html.escape(', '.join(found.large))}."
    return said


def _dimension_panel(table: pd.DataFrame) -> Figure:
    drawn, axes = plots.panel(4.6, 2.9)
    x = np.arange(len(table))
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.3, "elinewidth": 0.9}
    axes.errorbar(x, table["two_nn"], yerr=table["two_nn_se"].fillna(0), color=COLOURS["low"], **style)
    axes.plot(x, table["participation_ratio"], color=COLOURS["high"], marker="o", markersize=4, linewidth=1.3)
    axes.set_xticks(x, [_short(name) for name in table["layer"]], rotation=45, ha="right", fontsize=7)
    axes.set(ylabel="dimension")
    axes.set_ylim(bottom=0)
    return drawn


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"…{name[-15:]}"


# --- the layer map -------------------------------------------------------------------------------


def _layers(found: Measured) -> Section:
    given, space, pairs = found.given, found.spaces[0], found.pairs[0]
    taken = [*space]
    half = len(found.pairs) > 1
    rows = found.sample[::2] if half else found.sample
    groups: tuple[str, ...] = ("images",)
    group = np.zeros(len(rows), dtype=np.intp)
    if given.labels is not None and len(given.categories) <= _GROUPS:
        group, groups = np.sort(given.labels[rows]), tuple(given.categories)
    shown = Shown.of(space, pairs, group=group, groups=groups)
    maps = [square_map(each, taken) for each in found.pairs]
    if half:
        gain = subnetworks.against_chain(*maps)
        blocks, said = gain.partition, subnetworks.verdict(gain)
    else:
        blocks = subnetworks.best_blocks(maps[0])
        said = "They were not judged on other images: there are too few for two samples."
    ends = [0, *blocks.cuts, len(taken)]
    runs = [taken[a] if b - a == 1 else f"{taken[a]} to {taken[b - 1]}" for a, b in itertools.pairwise(ends)]
    finding = f"The layers are best cut into {_many(blocks.n_blocks, 'block')}: {'; '.join(runs)}."
    caption = (
        f"How far apart the geometries of every two layers are (Gromov–Wasserstein), on {len(rows)} images"
        + (f"; the blocks are judged on {len(found.pairs[1]) and len(rows)} others." if half else ".")
        + _left_out(found)
    )
    widget = PairMap({"own": shown}, titles={"own": given.title}, caption=caption)
    table = pd.DataFrame(
        [
            {
                "first": first,
                "second": second,
                "sample": number_ + 1,
                "distance": one.distance,
                "lower": one.lower,
                "upper": one.upper,
                "identity": one.identity,
                "relative": one.relative,
            }
            for number_, each in enumerate(found.pairs)
            for (first, second), one in each.items()
        ]
    )
    return Section("layers", finding, said, figure(widget), [widget], {"layer_pairs": table})


# --- pruning -------------------------------------------------------------------------------------


def _pruning(found: Measured) -> Section:
    arrays, n = found.pruned, len(found.sample)
    left = arrays["left"]
    labelled = "right" in arrays
    lines = []
    for what, same, right, r2, stays in (
        *(
            (order, arrays["same"][i], arrays["right"][i] if labelled else None, arrays["geometry"][i], left)
            for i, order in enumerate(ORDERS)
        ),
        (
            "magnitude",
            arrays["magnitude_same"],
            arrays["magnitude_right"] if labelled else None,
            arrays["magnitude_geometry"],
            np.array(MAGNITUDE),
        ),
    ):
        table = pd.DataFrame({"kept": what, "left": stays, "same_answer": same, "geometry": r2})
        table["accuracy"] = np.nan if right is None else right
        lines.append(table)
    table = pd.concat(lines)

    def at(kept: str, share: float, column: str) -> float:
        row = table[(table["kept"] == kept) & np.isclose(table["left"], share)]
        return float(row[column].iloc[0])

    column = "accuracy" if labelled else "same_answer"
    what = "right" if labelled else "answered as before"
    layer = found.given.layers[0]
    whole = f"; all features: {_of(at('low', 1, column))}" if labelled else ""
    said = (
        f"Without the rarest 20 % of the features of {layer}, {_of(at('low', 0.8, column))} of {n} "
        f"images are {what} "
        f"(a random 20 %: {_of(at('random', 0.8, column))}; the most active 20 %: "
        f"{_of(at('high', 0.8, column))}{whole}) and the geometry "
        f"keeps R² = {_r2(at('low', 0.8, 'geometry'))}."
    )
    more = (
        f"Supervised pruning, by the magnitude of all weights, with half of them left: "
        f"{_of(at('magnitude', 0.5, column))} and R² = {_r2(at('magnitude', 0.5, 'geometry'))}."
    )
    if labelled and at("low", 1, column) <= 2 / len(found.given.categories):
        more += (
            " The whole network is no better than chance: check its weights, --size, and whether its outputs "
            "are the categories in alphabetical order."
        )
    note = "" if labelled else _no_accuracy(found, int(arrays["n_outputs"]))
    panels = []
    for title, y in (("right" if labelled else "as before", column), ("geometry", "geometry")):
        panel, axes = plots.panel(2.6, 2.2, title=title)
        for kept, colour in (("random", "random"), ("high", "high"), ("low", "low"), ("magnitude", "ours")):
            own = table[table["kept"] == kept]
            axes.plot(own["left"], own[y], color=COLOURS[colour], marker="o", markersize=3.5, linewidth=1.4)
        axes.set(
            xlabel="share that is left",
            ylabel="R²" if y == "geometry" else "images",
            ylim=(0, 1.02),
            xlim=(0, 1.02),
        )
        plots.percent(axes, "x")
        if y != "geometry":
            plots.percent(axes, "y")
        panels.append(panel)
    legend = {
        "the most active features": "low",
        "the rarest features": "high",
        "random features": "random",
        "the largest weights": "ours",
    }
    caption = (
        f"What is left when features of {html.escape(layer)} are set to 0, and when the smallest weights "
        f"of every layer are; nothing is "
        f"trained again. On {n} images"
        + (f", evenly spaced among {found.given.n:,}" if n < found.given.n else "")
        + f".{html.escape(note)}"
    )
    drawn = frame.show(panels, name="pruning", alt=said, caption=caption, numbers=table, legend=legend)
    return Section("pruning", said, more, _join(drawn), tables={"pruning": table})


def _no_accuracy(found: Measured, n_outputs: int) -> str:
    there = (
        f"there are {len(found.given.categories)} categories"
        if found.given.labels is not None
        else "the images have no categories"
    )
    return (
        f" Accuracy is not shown: the network has {n_outputs} outputs and {there}; a folder of images "
        f"for each output, "
        "in alphabetical order, gives it."
    )


def _r2(value: float) -> str:
    return number(value) if value == value else "undefined"


# --- people --------------------------------------------------------------------------------------


def _people(found: Measured) -> Section:
    given = found.given.human
    assert given is not None
    lines, tests, panels = list[pd.DataFrame](), list[dict[str, Any]](), list[Figure]()
    for layer, arrays in found.people.items():
        n_features = int(arrays["k"][-1])
        ceiling = tuple(np.minimum(arrays["ceiling"], 1))
        shown: dict[str, Any] = {"ceiling": ceiling} if np.isfinite(ceiling).all() else {}
        top = max(
            0.05,
            *(np.nanmax(np.nan_to_num(arrays[k])) for k in ("low", "high", "random")),
            *(shown.get("ceiling", ())),
        )
        bottom = min(0.0, *(np.nanmin(np.nan_to_num(arrays[k])) for k in ("low", "high", "random")))
        panels.append(
            plots.prediction_panel(
                arrays["k"] / n_features,
                {"low": arrays["low"], "high": arrays["high"]},
                title=_title(found, layer) if len(found.people) > 1 else "",
                xlabel="share of features",
                ylabel="r with people",
                ylim=(1.1 * bottom, min(1.05, 1.1 * top)),
                band=(arrays["random"][0], arrays["random"][2]),
                **shown,
            )
        )
        lines.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    **{c: arrays[c] for c in ("k", "low", "high")},
                    "random": arrays["random"][1],
                }
            )
        )
        for kept in ("low", "high"):
            own = np.vstack([arrays[f"tests_{kept}"], arrays[f"largest_{kept}"]])
            words = [f"{share:.0%}, decided beforehand" for share in SHARES] + ["the best of all, corrected"]
            for row, how in zip(own, words, strict=True):
                test = dict(zip(("D", "low", "high", "p", "k"), row, strict=True))
                tests.append({"layer": layer, "kept": kept, "how": how, **test})
    table, curves = pd.DataFrame(tests), pd.concat(lines)
    best = table["how"].str.startswith("the best")
    table["holm"] = np.nan
    known = best & table["p"].notna()
    if known.any():
        table.loc[known, "holm"] = inference.holm(table.loc[known, "p"])
    layer, arrays = next(iter(found.people.items()))
    said, more = _verdict(
        layer if found.given.network is not None else found.given.title, arrays, table, known
    )
    who = f"{len(given.subjects)} people" if given.subjects is not None else "people"
    caption = (
        f"r of the dissimilarities of {who} ({html.escape(given.source)}) with those of the first "
        f"features of an order; grey: random "
        "orders"
        + (", and the noise ceiling of the mean over people" if np.isfinite(arrays["ceiling"]).all() else "")
        + ". PoZ is counted on the same images."
    )
    legend = {_TITLES["low"]: "low", _TITLES["high"]: "high", _TITLES["random"]: "random"}
    drawn = frame.show(panels, name="people", alt=said, caption=caption, numbers=curves, legend=legend)
    listed = table.assign(k=table["k"].astype(int))
    listing = frame.table(
        listed,
        name="people",
        caption="D: r of the features kept − r of all; its 95 % interval and p, two-sided where the "
        "number of features "
        "was decided beforehand; for the best of all numbers one-sided and corrected for the search, "
        "holm also for the rows.",
        digits=3,
    )
    return Section(
        "people", said, more, _join(drawn, listing), tables={"people_curves": curves, "people_tests": table}
    )


def _verdict(
    layer: str, arrays: Mapping[str, NDArray[Any]], table: pd.DataFrame, known: pd.Series
) -> tuple[str, str]:
    """What the tests say, in a sentence, and those that were decided on beforehand."""
    more = list[str]()
    whole = float(arrays["low"][-1])
    text = f"All {int(arrays['k'][-1]):,} features of {layer} predict people with r = {number(whole)}"
    low, high = (float(v) for v in np.minimum(arrays["ceiling"], 1))
    if low == low:
        text += f" (noise ceiling {interval(low, high)})"
    better = table[known & (table["holm"] < 0.05) & (table["D"] > 0)]
    if len(better):
        row = better.iloc[0]
        which = "most active" if row["kept"] == "low" else "rarest"
        text += (
            f"; the {int(row['k']):,} {which} ones predict them better (D = {signed(row['D'])}, p = "
            f"{p_value(row['holm'])}, "
            "corrected for having looked at every number)."
        )
    elif known.any():
        least = p_value(float(table["holm"].min()))
        text += f"; no number of the most active or of the rarest is significantly better (p = {least})."
    else:
        text += "; the tests are undefined here."
    for kept, share, words in (("low", 2, "Without the rarest 20 %"), ("high", 0, "The rarest 20 % alone")):
        d, least, most, p, _ = arrays[f"tests_{kept}"][share]
        if d == d:
            test = f"D = {signed(d)} [{signed(least)}, {signed(most)}], p = {p_value(p)}"
            silent = arrays[f"silenced_{kept}"][share][0]
            also = f" (silenced instead of removed: {signed(silent)})" if silent == silent else ""
            more.append(f"{words}: {test}{also}.")
    return text, " ".join(more)
