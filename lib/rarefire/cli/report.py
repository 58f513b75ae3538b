"""``rarefire report``: a network of one's own, or an embedding, on one page."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rarefire.cli.common import (
    Array,
    Background,
    ByPosition,
    HumanArray,
    Weights,
    app,
    appearing,
    at_work,
    categories_of,
    named,
    opened,
    outputs,
    outside,
    place_for,
    read_for,
    readable,
    suited,
    trained,
)
from rarefire.errors import DataError, InputError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from rarefire.judgments import Judgments
    from rarefire.page.report import Section
    from rarefire.records.report import Measured
    from rarefire.stimuli import Gallery, Stimuli

__all__ = ["report"]

_PAGE, _STAMP, _TABLES = "index.html", "report.json", "tables"
_SECTIONS = "silence, histogram, curves, explorer, ghosts, dimension, layers, pruning, people"


@app.command()
@partial(readable, to_folder=True)
def report(
    out: Annotated[Path, typer.Option(help="folder for the page (index.html), its tables and report.json")],
    images: Annotated[
        str | None,
        typer.Argument(
            help="a folder of pictures, with one folder for each category or none; or digits, mnist, "
            "cifar10, imagenet-sample, mur, letters. With --embedding it may be left out"
        ),
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            help="lenet5, a torchvision classifier, or a function that returns a network: "
            "path/to/nets.py:function"
        ),
    ] = "",
    weights: Weights = "",
    layer: Annotated[
        list[str] | None,
        typer.Option(help="whose features, post-ReLU; several by naming it again; default: penultimate"),
    ] = None,
    embedding: Annotated[
        Path | None, typer.Option(help="instead of a network: its features, (n_images, n_features)")
    ] = None,
    human: Annotated[
        str | None,
        typer.Option(help="people's RDM of the images, one for each person, or a table of ratings or trials"),
    ] = None,
    similarity: Annotated[
        bool, typer.Option("--similarity", help="people's numbers are similarities")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="text: a category a line, or image,category; default: the pictures' folders"),
    ] = None,
    sections: Annotated[
        list[str] | None,
        typer.Option(help=f"which, with commas between them or by naming it again: {_SECTIONS}"),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="of pictures, in pixels; default: 224", min=16, max=2048)
    ] = None,
    background: Background = "white",
    by_position: ByPosition = False,
    array: Array = None,
    human_array: HumanArray = None,
    title: Annotated[str, typer.Option(help="of the page; default: the network's or the file's name")] = "",
    seed: Annotated[int, typer.Option(help="of random orders and starts", min=0)] = 0,
    jobs: Annotated[int | None, typer.Option(help="processes; default: one for each core", min=1)] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="compare layers with Dask: local, or the address of a scheduler (tcp://host:8786)"),
    ] = None,
) -> None:
    """Your network on one page: silence, curves, explorer, ghosts, dimension, layers, pruning, people.

    The page works offline and from disk. Stopped, it goes on where it was.
    """
    from rarefire import networks, records

    chosen = records.report.check_sections(_listed(sections) or [*records.report.SECTIONS])
    read = _check_asked(images, network, weights, layer, embedding, array)
    named(Path(human) if human else None, **{"--similarity": similarity, "--human-array": human_array})
    files = [Path(human)] if human and Path(human).exists() else []
    place = place_for(out, _is_ours, "report", [*read, *files, *([labels] if labels else [])])
    said: list[str] = []
    shown = None if images is None else _shown(images, size, background, out, network)
    features = None
    if embedding is not None:
        features, shown = _embedded(embedding, array, shown, by_position, said)
    assert shown is not None
    if labels is not None:
        own_file = embedding or Path(images or "")
        categories, how = categories_of(labels, own_file, shown.names, shown.n, by_position=by_position)
        shown = shown.sorted_into(categories)
        said.append(f"Labels: {how}.")
    judged = shown.human
    if human is not None and not (human == images and judged is not None):
        judged, how = _judged(human, shown, embedding or images, similarity, by_position, human_array)
        said.append(f"People: {how}.")
    model = None if embedding is not None else _model(network, weights, shown)
    name = title or (embedding.stem if embedding else networks.short_name(network))
    given = records.report.Given(
        name,
        images=shown.images,
        network=model,
        layers=tuple(dict.fromkeys(layer or [records.report.Given.layers[0]])),
        embedding=features,
        names=shown.names,
        labels=shown.labels,
        categories=shown.categories,
        human=judged,
        seed=seed,
    )
    about = _about(given, images, embedding)
    print(about)
    for line in said:
        print(line)
    with at_work(scheduler):
        found = records.report.measure(given, sections=chosen, jobs=jobs, progress=sys.stderr.isatty())
    facts = {
        "images": images,
        "network": network or None,
        "weights": weights or None,
        "layers": list(given.layers) if model is not None else None,
        "embedding": None if embedding is None else embedding.name,
        "n_images": given.n,
        "categories": len(given.categories),
        "people": None if judged is None else judged.name,
        "size": size,
        "seed": seed,
        **given.facts,
        **({} if judged is None else {"people_digest": judged.digest}),
    }
    written = _write(place, found, about, facts, [*read, *files, *([labels] if labels else [])], said)
    for section in written:
        print(f"{section.name}: {section.finding}")
    size_of = (place / _PAGE).stat().st_size / 1e6
    print(f"Written: {out / _PAGE} ({size_of:.1f} MB)")


def _listed(sections: Sequence[str] | None) -> list[str]:
    return [name.strip() for given in sections or [] for name in given.split(",") if name.strip()]


def _check_asked(
    images: str | None,
    network: str,
    weights: str,
    layer: Sequence[str] | None,
    embedding: Path | None,
    array: str | None,
) -> list[Path]:
    """What is asked for fits together; the files that it is read from."""
    from rarefire import networks

    if embedding is not None:
        for option, given in (("--network", network), ("--weights", weights), ("--layer", layer)):
            if given:
                raise InputError(f"--embedding stands for a network and its layer: leave {option} out.")
        return [embedding]
    if array is not None:
        raise InputError("--array says which array of the embedding's file; name one with --embedding.")
    if not network:
        raise InputError("a report is of a network (--network, with images) or of features (--embedding).")
    if images is None:
        raise InputError("a network needs images: name a folder of pictures, or an image set.")
    networks.check_name(network)
    return read_for(network, weights)


def _is_ours(place: Path) -> bool:
    """Whether a folder is empty, or holds a report and nothing else."""
    if not place.is_dir():
        return False
    there = {path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir()}
    if not there and not any(place.iterdir()):
        return True
    try:
        stamp = json.loads((place / _STAMP).read_text(encoding="utf-8"))
        files = stamp["files"] if stamp["question"] == "report" else {}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return there <= {*files, _STAMP}


# --- images, categories, people ------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Shown:
    """Images, as far as they are there, and what is known of them, in one order."""

    n: int
    images: Gallery | NDArray[np.float32] | None = None
    names: tuple[str, ...] | None = None
    labels: NDArray[np.intp] | None = None
    categories: tuple[str, ...] = ()
    human: Judgments | None = None
    known: Stimuli | None = None

    def sorted_into(self, categories: Sequence[str]) -> _Shown:
        """With a category for each image."""
        import numpy as np

        names, labels = np.unique(np.array(categories, dtype=object), return_inverse=True)
        return replace(self, labels=labels.astype(np.intp), categories=tuple(map(str, names)))


def _shown(name: str, size: int | None, background: str, out: Path, network: str) -> _Shown:
    import numpy as np

    from rarefire import judgments, stimuli
    from rarefire.cli.common import is_lenet

    folder: Path | None = Path(name.removeprefix("folder:")).expanduser()
    if name in judgments.NAMES and not Path(name).is_dir():
        given = judgments.load(name, size=size or 224)
        if given.images is None:
            raise DataError(f"the pictures of {name} are not on this machine.")
        few = given.images
        names = tuple(few.class_names)
        labels = np.asarray(few.labels, dtype=np.intp) if len(names) > 1 else None
        return _Shown(len(few), few.images, given.names, labels, names if len(names) > 1 else (), given)
    if name in stimuli.NAMES:
        known = stimuli.load(name, "test", size=size)
        return _Shown(
            len(known),
            known.images,
            None,
            np.asarray(known.labels, dtype=np.intp),
            tuple(known.class_names),
            known=known,
        )
    if name == stimuli.SAMPLE and not Path(name).is_dir():
        folder = stimuli.gallery_root()
    if folder is None or not folder.is_dir():
        there = [*stimuli.NAMES, stimuli.SAMPLE, *judgments.NAMES]
        raise unknown("image set", name, there, hint=f"Nor is there a folder {folder or name}.")
    outside(folder, out)
    if size is None and is_lenet(network):
        raise InputError(f"{network} is made for images of one size: say which with --size.")
    gallery = stimuli.gallery(folder, size=size or 224, background=background)
    names = tuple(file.relative_to(gallery.root).as_posix() for file in gallery.files)
    made = _Shown(len(gallery), gallery, names)
    inside = {file.parent for file in gallery.files}
    if len(inside) < 2 or gallery.root in inside:
        return made  # no categories
    return made.sorted_into([file.parent.relative_to(gallery.root).as_posix() for file in gallery.files])


def _embedded(
    embedding: Path, array: str | None, shown: _Shown | None, by_position: bool, said: list[str]
) -> tuple[NDArray[Any], _Shown]:
    """Features, and their images in the order of their rows."""
    import numpy as np

    from rarefire import names, poz
    from rarefire.stimuli import Gallery

    found = opened(embedding, array)
    features = np.asarray(found.values[:])
    features = features if features.dtype == np.float64 else features.astype(np.float32)
    poz.check_activations(features, dimensions=2)
    n = len(features)
    if shown is None:
        return features, _Shown(n, names=found.names)
    if shown.n != n:
        raise InputError(
            f"{embedding.name} has {n:,} rows, and there are {shown.n:,} pictures: each row needs one."
        )
    matched = names.align(
        found.names, shown.names, n_images=n, own_file=embedding, other_file="IMAGES", by_position=by_position
    )
    said.append(f"Pictures: {matched.how}.")
    rows = matched.rows
    images: Any = shown.images
    images = (
        replace(images, files=tuple(images.files[i] for i in rows))
        if isinstance(images, Gallery)
        else images[rows]
    )
    own = tuple(shown.names[i] for i in rows) if shown.names is not None else None
    labels = None if shown.labels is None else shown.labels[rows]
    human = None if shown.human is None else _in_order(shown.human, rows)
    return features, replace(shown, images=images, names=own, labels=labels, human=human, known=None)


def _judged(
    human: str,
    shown: _Shown,
    own_file: Path | str | None,
    similarity: bool,
    by_position: bool,
    array: str | None,
) -> tuple[Judgments, str]:
    """What people say, in the order of the images; and how they were matched."""
    from rarefire import judgments, names, ratings
    from rarefire.choices import Choices

    if human in judgments.NAMES and not Path(human).exists():
        given: Judgments | Choices = judgments.load(human)
    else:
        given = ratings.read_either(human, similarity=similarity, array=array)
    if isinstance(given, Choices):
        given = ratings.counted(given)
    if given.n != shown.n:
        raise InputError(
            f"{human} is of {given.n:,} images, and there are {shown.n:,}: both are of the same."
        )
    theirs = None if names.are_numbers(given.names) else given.names
    matched = names.align(
        None if by_position else shown.names,
        None if by_position else theirs,
        n_images=shown.n,
        own_file=own_file or "IMAGES",
        other_file=human,
        by_position=by_position,
    )
    return _in_order(given, matched.rows), matched.how


def _in_order(given: Judgments, rows: NDArray[np.intp]) -> Judgments:
    """Judgments of the same images in another order; their pictures are left out."""
    import numpy as np

    from rarefire import rdm

    place = np.triu_indices(len(rows), 1)

    def turned(values: NDArray[np.float64] | None) -> Any:
        if values is None:
            return None
        return np.stack([rdm.square(one)[np.ix_(rows, rows)][place] for one in np.atleast_2d(values)])

    return replace(
        given,
        human=turned(given.human)[0],
        subjects=turned(given.subjects),
        halves=turned(given.halves),
        images=None,
        names=tuple(given.names[i] for i in rows),
    )


def _model(network: str, weights: str, shown: _Shown) -> nn.Module:
    """The network, which takes these images."""
    import numpy as np

    from rarefire import networks, stimuli

    assert shown.images is not None
    few = shown.images[np.arange(min(2, shown.n))]
    first = stimuli.Stimuli("images", "all", few, np.zeros(len(few), dtype=np.int64), ("",), "")
    model: nn.Module = (
        trained(network, weights, few.shape[-1])
        if shown.known is None
        else suited(network, weights, shown.known)
    )
    outputs(model, first, networks.short_name(network))
    return model


# --- what is said and written --------------------------------------------------------------------


def _about(given: Any, images: str | None, embedding: Path | None) -> str:
    what = f"{given.n:,} images" + (f" of {images}" if images else "")
    if len(given.categories) > 1:
        what += f" in {len(given.categories):,} categories"
    if given.human is not None:
        people = given.human.subjects
        what += f", judged by {len(people)} people" if people is not None else ", judged by people"
    if embedding is not None:
        return f"{embedding.name}, {given.embedding.shape[1]:,} features of {what}."
    return f"{given.title}, features of {', '.join(given.layers)}, for {what}."


def _write(
    place: Path,
    found: Measured,
    about: str,
    facts: Mapping[str, Any],
    read: Sequence[Path],
    said: Sequence[str],
) -> list[Section]:
    """The page, its tables and where they come from: all of it, or nothing."""
    from rarefire import store
    from rarefire.page import report as pages

    made = pages.sections(found)
    stamp = store.provenance("report", facts)
    date = found.stamp.get("date", stamp["date"])  # of what was computed first: resumed, it is the same
    origin = f"Made by rarefire {stamp['versions']['rarefire']}, torch {stamp['versions']['torch']}, {date}."
    with store.alone(place), appearing(place) as fresh:
        (fresh / _TABLES).mkdir()
        for name, table in pages.tables(made).items():
            table.to_csv(fresh / _TABLES / f"{name}.csv", index=False, lineterminator="\n")
        (fresh / _PAGE).write_bytes(pages.page(found, made, about=about, origin=origin))
        files = sorted(path for path in fresh.rglob("*") if path.is_file())
        inputs = {path.name: store.file_digest(path) for path in read if path.is_file()}
        whole = {
            **stamp,
            "date": date,
            "about": about,
            "matched": list(said),
            "inputs": inputs,
            "sections": [{"name": s.name, "finding": s.finding, "missing": s.missing} for s in made],
            "warnings": found.warnings,
            "files": {path.relative_to(fresh).as_posix(): store.file_digest(path) for path in files},
        }
        (fresh / _STAMP).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return made
