"""The command line: ``rarefire --help``."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.exceptions import TyperException

import rarefire
from rarefire.errors import DataError, InputError, RarefireError, RarefireWarning, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Embedding = Annotated[Path, typer.Argument(help="E.npy or a zarr store: (n_images, n_features), post-ReLU")]
Weights = Annotated[
    str, typer.Option(help="a state dict, or DEFAULT for torchvision's; default: what is on this machine")
]

#: Modules that an optional part of the package brings, and what that is called.
_OPTIONAL = {
    **dict.fromkeys(("yaml", "nbformat", "papermill", "jupyter_book", "latex2mathml"), "book"),
    **dict.fromkeys(("dask", "distributed", "zarr"), "scale"),
}

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def run() -> None:
    """Run the program: what a user got wrong is one readable line, never a traceback."""
    warnings.formatwarning = _one_line
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except TyperException as error:
        print(f"rarefire: {error.format_message().rstrip('.')}. See rarefire --help.", file=sys.stderr)
        status = 2
    sys.exit(status if isinstance(status, int) else 0)


def _one_line(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> str:
    """A warning, as a user reads it."""
    return f"{'rarefire' if issubclass(category, RarefireWarning) else category.__name__}: {message}\n"


def _readable(command: Callable[..., None]) -> Callable[..., None]:
    """An error of ours is one readable message and exit status 1, never a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            with _standard_output_left_to_files(kwargs.values()):
                command(*args, **kwargs)
        except RarefireError as error:
            print(f"rarefire: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except Exception as error:
            if os.environ.get("RAREFIRE_DEBUG"):
                raise
            print(f"rarefire: {_in_words(error)}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            print(
                "rarefire: interrupted. What is finished is kept, nothing is half-written.", file=sys.stderr
            )
            raise typer.Exit(130) from None

    return wrapped


def _in_words(error: Exception) -> str:
    """An error that is none of ours, in one line."""
    lacking = (error.name or "").split(".")[0] if isinstance(error, ImportError) else ""
    if lacking in _OPTIONAL:
        return f"this needs {lacking}, which is not installed: pip install 'rarefire[{_OPTIONAL[lacking]}]'."
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text} (RAREFIRE_DEBUG=1 shows where)"


@contextmanager
def _standard_output_left_to_files(arguments: Iterable[object]) -> Iterator[None]:
    """Where a file to write is standard output, what is said goes to standard error."""
    from rarefire import store

    with ExitStack() as stack:
        if any(isinstance(given, Path) and store.descriptor(given) == 1 for given in arguments):
            stack.enter_context(redirect_stdout(sys.stderr))
        yield


def _say_version(asked: bool) -> None:
    if asked:
        print(f"rarefire {rarefire.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="say which, and leave", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What rarely firing features do in a vision network: PoZ, nested RSA curves, and the book on them."""


@app.command("poz")
@_readable
def poz_command(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="CSV with columns feature, poz, kind")],
    rare: Annotated[
        float, typer.Option(help="features with a greater share of zeros are rare", min=0, max=1)
    ] = 0.8,
) -> None:
    """Percentage of zeros of every feature: active, rare, or dead (0 for every image)."""
    import pandas as pd

    from rarefire import blocks, poz

    _apart(embedding, out)
    rates = poz.poz(blocks.open_embedding(embedding))
    kinds = poz.kinds(rates, rare=rare)
    _write_table(pd.DataFrame({"feature": range(len(rates)), "poz": rates, "kind": kinds}), out)
    counts = ", ".join(f"{(kinds == kind).sum():,} {kind}" for kind in poz.KINDS)
    print(f"{len(rates):,} features: {counts} (rare: PoZ > {rare:g}, dead: PoZ = 1). Written: {out}")


@app.command("curve")
@_readable
def curve_command(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="CSV with columns k, r, r2, n_images, poz")],
    human: Annotated[
        Path | None, typer.Option(help="square RDM, .npy or .csv; default: the full embedding's geometry")
    ] = None,
    order: Annotated[str, typer.Option(help="low or high PoZ first, or random")] = "low",
    metric: Annotated[str, typer.Option(help="correlation or cosine")] = "correlation",
    k: Annotated[str, typer.Option(help="all, or numbers of features such as 10,20,50")] = "all",
    seed: Annotated[int, typer.Option(help="of the random order", min=0)] = 0,
    similarity: Annotated[bool, typer.Option("--similarity", help="the RDM holds similarities")] = False,
    plot: Annotated[Path | None, typer.Option(help="also draw the curve: .png or .svg")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="compute with Dask: local, or a scheduler's address")
    ] = None,
) -> None:
    """R² of the first k features' RDM with a reference, for every k. Equal PoZ goes by feature index."""
    import pandas as pd

    from rarefire import blocks, curves, poz, rdm

    _apart(embedding, human, out, plot)
    if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"--plot writes .png or .svg; got {plot.name!r}.")
    if order not in ("low", "high", "random"):
        raise InputError(f"--order is low, high or random; got {order!r}.")
    if metric not in ("correlation", "cosine"):
        raise InputError(f"--metric is correlation or cosine; got {metric!r}.")
    if human is None and similarity:
        raise InputError("--similarity says how to read the RDM; name one with --human.")
    if human is not None and scheduler is not None:
        raise InputError(
            "--scheduler is for the embedding's own geometry; curves against an RDM need no cluster."
        )
    source = blocks.open_embedding(embedding)
    rates = poz.poz(source)
    indices = _insertion(rates, order, seed)
    options: dict[str, Any] = {"metric": metric, "k": _steps(k)}
    progress = sys.stderr.isatty()
    if human is not None:
        found = curves.rdm_curve(source, rdm.read(human, similarity=similarity), indices, **options)
    elif scheduler is not None:
        from rarefire import cluster

        address = None if scheduler == "local" else scheduler
        found = cluster.geometry_curve(embedding, indices, scheduler=address, progress=progress, **options)
    else:
        found = curves.geometry_curve(source, indices, progress=progress, **options)
    cut = rates[indices[found.k - 1]]
    table = pd.DataFrame({"k": found.k, "r": found.r, "r2": found.r2, "n_images": found.n_images, "poz": cut})
    against = "the full embedding" if human is None else human.name
    shown = {"low": "low→high PoZ", "high": "high→low PoZ", "random": f"random order, seed {seed}"}[order]
    with _tables_opened({out: table}):
        if plot is not None:
            from rarefire import figures

            figures.save_curve(plot, found, cut, title=shown, against=against)
    undefined = int((found.r != found.r).sum())
    note = f" R² is undefined (empty) at {undefined:,} of {len(table):,} k." if undefined else ""
    print(
        f"{source.shape[0]:,} images × {source.shape[1]:,} features, {shown}, {metric}, against {against}: "
        f"R² = {found.r2[-1]:.4f} at k = {found.k[-1]:,}.{note} Written: {out}"
    )


@app.command()
@_readable
def explore(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="the page, .html")],
    human: Annotated[Path | None, typer.Option(help="square RDM of these images, .npy or .csv")] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="the RDM holds similarities")] = False,
    labels: Annotated[Path | None, typer.Option(help="text: a category for each image, one a line")] = None,
    images: Annotated[int, typer.Option(help="shown, drawn at random where there are more", min=3)] = 120,
    seed: Annotated[int, typer.Option(help="of that draw, and of the random order", min=0)] = 0,
) -> None:
    """Write the pruning explorer of an embedding as one page that works offline. PoZ is over all images."""
    import html

    import numpy as np

    from rarefire import blocks, poz, rdm, store
    from rarefire.explorer import Explorer, Scene
    from rarefire.widgets import save

    _apart(embedding, human, labels, out)
    if human is None and similarity:
        raise InputError("--similarity says how to read the RDM; name one with --human.")
    source = blocks.open_embedding(embedding)
    n = source.shape[0]
    categories = [] if labels is None else store.read_text(labels).splitlines()
    if labels is not None and len(categories) != n:
        raise InputError(f"{labels.name} has {len(categories):,} lines; {embedding.name} has {n:,} images.")
    rows = np.arange(n)
    if n > images:
        rows = np.sort(np.random.default_rng(seed).choice(n, images, replace=False))
    names, codes = np.unique(categories, return_inverse=True) if categories else (np.array([]), None)
    people = None if human is None else rdm.square(rdm.check_rdm(rdm.read(human, similarity=similarity), n))
    scene = Scene(
        embedding.stem,
        f"{source.shape[1]:,} features",
        np.stack([blocks.read(source, slice(i, i + 1))[0] for i in rows]),
        poz=poz.poz(source),
        labels=None if codes is None else codes[rows],
        names=names.tolist(),
        human=None if people is None else people[np.ix_(rows, rows)],
    )
    drawn = f"{len(rows):,} of {n:,} images, drawn with seed {seed}" if n > len(rows) else f"{n:,} images"
    caption = f"{html.escape(embedding.name)}: {drawn}. PoZ counted over all {n:,}."
    reference = "network" if human is None else "people"
    save(out, Explorer([scene], caption=caption, reference=reference, seed=seed), title=embedding.stem)
    print(f"{drawn}, {source.shape[1]:,} features. Written: {out}")


@app.command()
@_readable
def people(
    judgments: Annotated[
        str, typer.Argument(help="mur, peterson-animals, …, cifar10h, or a file of ratings (.csv, .npy)")
    ],
    out: Annotated[Path | None, typer.Option(help="CSV of the curves: view, k, low, high, …")] = None,
    network: Annotated[str, typer.Option(help="a torchvision classifier")] = "vgg19",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "penultimate",
    size: Annotated[int, typer.Option(help="of the images, in pixels", min=16, max=2048)] = 224,
    images: Annotated[Path | None, typer.Option(help="folder of the images; of a file of ratings")] = None,
    folder: Annotated[Path | None, typer.Option(help="the archive of Peterson et al. (2018)")] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="the ratings are similarities")] = False,
    recompute: Annotated[bool, typer.Option(help="leave the results shipped with the book aside")] = False,
    ship: Annotated[Path | None, typer.Option(help="also write the results to this .npz")] = None,
) -> None:
    """Measure how well slices of a network's features predict people, with valid tests. Takes minutes.

    cifar10h is compared with the book's fifty LeNets on CIFAR-10, by classes.
    """
    import pandas as pd

    from rarefire import class_level, networks, predictions
    from rarefire import judgments as known

    beside = ship and ship.with_stem(f"{ship.stem}-sample")
    _apart(out, ship, beside, Path(judgments), Path(weights) if weights else None)
    if images is not None:
        _outside(images, out, ship)
    own = judgments not in known.NAMES
    if not own and (images is not None or similarity):
        raise InputError(f"--images and --similarity are for a file of ratings; {judgments} has its own.")
    if judgments == "cifar10h":
        lenets = None if recompute else class_level.find(judgments, images="cifar10-jpg")
        if lenets is None:
            lenets = class_level.collect("cifar10", known.load(judgments), seeds=range(50), use_shipped=False)
        for share in predictions.SHARES[1:]:
            print(f"low→high PoZ: {lenets.change('low', share)}")
        curves = {kind: lenets[kind].mean(axis=0) for kind in predictions.KINDS}
        table = pd.DataFrame({"view": "class means", "k": range(1, lenets.n_features + 1), **curves})
        written = ship and class_level.ship(lenets, ship)
    else:
        networks.check_name(network)
        if own:
            from rarefire import ratings

            fit = size if images else None
            given = ratings.read(judgments, images=images, size=fit, similarity=similarity)
        else:
            given = known.load(judgments, size=size, folder=folder)
        if given.images is None:
            raise InputError(
                "a network needs the images that were judged: name their folder (--images; --folder for "
                "the archive of Peterson et al.)."
            )
        model = _trained(network, weights, size)
        arguments: dict[str, Any] = {"name": network, "layer": layer, "use_shipped": not recompute}
        found = predictions.predict(given, model, **arguments)
        print(given)
        print(predictions.verdicts(found).to_string(index=False, float_format="%.3f"))
        table = pd.concat([p.table() for p in found])
        written = ship and predictions.ship(found, ship, sample=predictions.sample(given, model, **arguments))
    if out is not None:
        _write_table(table, out)
    for path in (out, written):
        if path:
            print(f"written: {path}")


@app.command("ghosts")
@_readable
def ghosts_command(
    embedding: Embedding,
    category: Annotated[Path, typer.Option(help="text: the category's images, a row number from 0 a line")],
    out: Annotated[Path, typer.Option(help="CSV with columns feature, kind (ghost, dead), others")],
    read: Annotated[
        Path | None, typer.Option(help="also CSV of the images that score highest on the ghosts' components")
    ] = None,
    components: Annotated[int, typer.Option(help="of the ghosts' activations, with --read", min=1)] = 10,
    top: Annotated[int, typer.Option(help="images of each component, with --read", min=1)] = 8,
) -> None:
    """Ghost features of a category: 0 for all its images, active for others; and what they respond to.

    kind is ghost, or dead for a feature that is 0 for every image of the file; others is the number of
    other images for which it fires.
    """
    import numpy as np
    import pandas as pd

    from rarefire import blocks, ghosts

    _apart(embedding, category, out, read)
    source = blocks.open_embedding(embedding)
    rows = _rows(category, source.shape[0])
    found = ghosts.find(source, rows)
    others = np.setdiff1d(np.arange(source.shape[0]), rows)
    tables = {out: found.table()}
    if read is not None and len(found.features) and len(others) > 1:
        shown = ghosts.components(blocks.Rows(source, others), found.features, n=components)
        best = shown.top(min(top, len(others)))
        index = [(j, rank) for j in range(len(best)) for rank in range(best.shape[1])]
        tables[read] = pd.DataFrame(
            {
                "component": [j + 1 for j, _ in index],
                "explained": [shown.explained[j] for j, _ in index],
                "rank": [rank + 1 for _, rank in index],
                "image": [int(others[best[j, rank]]) for j, rank in index],
                "score": [shown.scores[best[j, rank], j] for j, rank in index],
            }
        )
    _write_tables(tables)
    print(f"{found} Written: {out}")
    if read is not None:
        print(f"Written: {read}" if read in tables else f"Nothing to read: {read} is not written.")


@app.command()
@_readable
def embed(
    folder: Annotated[Path, typer.Argument(help="images, in it and in its folders")],
    out: Annotated[Path, typer.Option(help="E.npy, (n_images, n_features) float32")],
    names: Annotated[Path | None, typer.Option(help="text: the image of each row, a line each")] = None,
    network: Annotated[str, typer.Option(help="a torchvision classifier")] = "vgg19",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "penultimate",
    pooled: Annotated[bool, typer.Option(help="average a layer with positions over these")] = False,
    size: Annotated[int, typer.Option(help="of the images, in pixels", min=16, max=2048)] = 224,
) -> None:
    """Write a network's features of a folder of images, for the other commands. Stopped, it goes on later."""
    from rarefire import embeddings, stimuli

    _apart(out, names, Path(weights) if weights else None)
    _outside(folder, out, names)
    images = stimuli.gallery(folder, size=size)
    model = _trained(network, weights, size)
    spatial: Literal["flatten", "mean"] = "mean" if pooled else "flatten"
    progress = sys.stderr.isatty()
    saved = embeddings.save(out, model, images, layer=layer, spatial=spatial, progress=progress, names=names)
    print(f"{saved.shape[0]:,} images × {saved.shape[1]:,} features, {network}, {layer}. Written: {out}")


def _rows(path: Path, n: int) -> NDArray[np.int64]:
    """Row numbers below n from a text file, one a line."""
    import numpy as np

    from rarefire import store

    lines = store.read_text(path).split()
    bad = next((line for line in lines if not line.isdecimal()), None)
    if bad is not None:
        raise InputError(f"{path.name} holds row numbers from 0, one a line; got {bad[:40]!r}.")
    beyond = next((line for line in lines if len(line) > 15 or int(line) >= n), None)
    if beyond is not None:
        raise InputError(f"{path.name} names image {beyond[:40]}; there are {n:,}, numbered from 0.")
    if not lines:
        raise InputError(f"{path.name} names no images: the category has none.")
    rows, counts = np.unique([int(line) for line in lines], return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{path.name}: image {rows[counts > 1][0]} is named twice.")
    return np.asarray(rows)


def _trained(network: str, weights: str, size: int) -> Any:
    """A torchvision classifier with its weights: those named, or those on this machine."""
    from rarefire import networks

    networks.check_name(network)
    state = weights or networks.local_weights(network)
    if state is None:
        raise InputError(
            f"no weights of {network} on this machine. Say --weights DEFAULT to download torchvision's, "
            "or name a state dict."
        )
    return networks.build(network, input_shape=(3, size, size), weights=state)


def _insertion(rates: NDArray[np.float64], order: str, seed: int) -> NDArray[np.intp]:
    """The features in the order in which they are inserted."""
    import numpy as np

    from rarefire import poz

    if order == "random":
        return np.random.default_rng(seed).permutation(len(rates))
    return poz.order(rates, first="low" if order == "low" else "high")


def _apart(*paths: Path | None) -> None:
    """No file that is written is one that is read, or another one that is written."""
    named = [os.path.realpath(path) for path in paths if path is not None]
    for path in named:
        if named.count(path) > 1:
            raise InputError(
                f"{Path(path).name} is named twice: what is written must not replace what is read."
            )


def _outside(folder: Path, *paths: Path | None) -> None:
    """No file that is written lies among the images that are read."""
    for path in paths:
        if path is not None and Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents:
            raise InputError(f"{path.name} would lie among the images that are read; write it elsewhere.")


def _steps(text: str) -> list[int] | None:
    """``all`` or ``10,20,50``."""
    if text.strip() == "all":
        return None
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise InputError(f"--k is all, or whole numbers such as 10,20,50; got {text!r}.") from None


def _write_table(table: Any, path: Path) -> None:
    """A CSV, whole or not at all."""
    _write_tables({path: table})


def _write_tables(tables: Mapping[Path, Any]) -> None:
    """CSVs: all of them, whole, or none."""
    with _tables_opened(tables):
        pass


@contextmanager
def _tables_opened(tables: Mapping[Path, Any]) -> Iterator[None]:
    """CSVs that are written now and appear at the end of the block; none does if the block fails."""
    from rarefire import store

    with ExitStack() as stack:
        for path, table in tables.items():
            stack.enter_context(store.atomic_write(path)).write(table.to_csv(index=False).encode())
        yield


@app.command()
@_readable
def study(
    images: Annotated[str, typer.Argument(help="digits, mnist, cifar10, cifar10-jpg or folder:PATH")],
    network: Annotated[str, typer.Option(help="lenet5, lenet5-wide or a torchvision classifier")] = "lenet5",
    instances: Annotated[int, typer.Option(help="seeds 0, 1, … of that many instances", min=1)] = 50,
    jobs: Annotated[int | None, typer.Option(help="processes; default: one per core", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the GPU if any")] = None,
    recompute: Annotated[bool, typer.Option(help="leave the results shipped with the book aside")] = False,
    ship: Annotated[Path | None, typer.Option(help="also write the results to this .npz")] = None,
) -> None:
    """Train and measure an ensemble. Stop it at any time; it goes on where it was."""
    import numpy as np

    from rarefire import studies

    seeds = range(instances)
    found = studies.run(images, network, seeds=seeds, jobs=jobs, device=device, use_shipped=not recompute)
    accuracy, silent = found["accuracy"], (found["poz_test"] > 0.8).mean(axis=1)
    print(found.stamp())
    print(f"accuracy: median {np.median(accuracy):.1%}, {accuracy.min():.1%} to {accuracy.max():.1%}")
    print(f"features with PoZ > 80 %: median {np.median(silent):.0%} of {found.n_features}")
    if ship is not None:
        if network == "lenet5":  # small enough to travel
            studies.trained(images, seed=seeds[0], use_shipped=not recompute)
            for seed in seeds[: studies.SAMPLED]:
                studies.sample(images, network, seed=seed, use_shipped=not recompute)
        print(f"written: {studies.ship(found, ship)}")


@app.command("variations")
@_readable
def variations_command(
    images: Annotated[str, typer.Argument(help="digits, mnist, cifar10 or cifar10-jpg")],
    names: Annotated[list[str] | None, typer.Argument(help="of variations; default: all")] = None,
    instances: Annotated[int, typer.Option(help="seeds 0, 1, … of each variation", min=1)] = 3,
    jobs: Annotated[int | None, typer.Option(help="processes; default: one per core", min=1)] = None,
    recompute: Annotated[bool, typer.Option(help="leave the results shipped with the book aside")] = False,
    ship: Annotated[Path | None, typer.Option(help="also write the results to this .npz")] = None,
) -> None:
    """Vary the recipe of LeNet-5 and count silent features. Stop it at any time; it goes on where it was."""
    import numpy as np
    import pandas as pd

    from rarefire import variations

    seeds = range(instances)
    wanted = names or list(variations.VARIATIONS)
    found = variations.run(images, wanted, seeds=seeds, jobs=jobs, use_shipped=not recompute)
    rows = [
        {
            "name": name,
            "recipe": variations.VARIATIONS[name].title,
            "epochs": np.median(e["epochs"]),
            "accuracy": np.median(e["accuracy"]),
            "PoZ > 80 %": np.median(variations.over(e)),
            "never fire": np.median(e["dead"]),
        }
        for name, e in found.items()
    ]
    print(f"{images}, median of {instances} instance{'s' * (instances > 1)}")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))
    if ship is not None:
        print(f"written: {variations.ship(images, ship, seeds=seeds)}")


@app.command("readings")
@_readable
def readings_command(
    images: Annotated[
        str, typer.Argument(help="digits, mnist or cifar10, by fifty LeNets; or photographs, by one network")
    ],
    gallery: Annotated[
        Path | None, typer.Option(help="folder of pictures to look through; default: those on this machine")
    ] = None,
    network: Annotated[str, typer.Option(help="a torchvision classifier, for photographs")] = "squeezenet1_0",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "features",
    size: Annotated[int, typer.Option(help="of the photographs, in pixels", min=16, max=2048)] = 227,
    recompute: Annotated[bool, typer.Option(help="leave the results shipped with the book aside")] = False,
    ship: Annotated[Path | None, typer.Option(help="also write the results to this .npz")] = None,
) -> None:
    """Measure what chapter 5 shows of ghosts. Stop it at any time; it goes on where it was."""
    import numpy as np
    import pandas as pd

    from rarefire import judgments, readings, retrieval, stimuli, store

    _apart(ship, Path(weights) if weights else None)
    if images == "photographs":
        model = _trained(network, weights, size)
        options: dict[str, Any] = {"name": network, "layer": layer, "use_shipped": not recompute}
        pictures = stimuli.gallery(gallery, size=size)
        found = readings.collect(judgments.load("mur", size=size), pictures, model, **options)
        print(readings.retrieved(found).to_string(index=False, float_format="%.3f"))
        answers = [reading.answer for reading in found]
    elif images in ("digits", "mnist", "cifar10"):
        ensemble = readings.lenets(images, seeds=range(50), use_shipped=not recompute)
        columns = dict(zip(retrieval.QUERIES, ensemble["auc"].mean(axis=(0, 1)).T, strict=True))
        ghosts = np.mean(ensemble["expected"], axis=(0, 1))
        table = pd.DataFrame({"m": ensemble["m"][0], "ghosts of a class": ghosts, **columns})
        print(table.to_string(index=False, float_format="%.3f"))
        answers = list(ensemble.answers)
    else:
        raise unknown("set of readings", images, ["digits", "mnist", "cifar10", "photographs"])
    if ship is not None:
        print(f"written: {store.pack(ship, answers)}")


@app.command("error-rates")
@_readable
def error_rates(
    simulations: Annotated[int, typer.Option(help="of each test, in each kind of world", min=100)] = 2000,
    recompute: Annotated[bool, typer.Option(help="leave the rates shipped with the book aside")] = False,
    ship: Annotated[Path | None, typer.Option(help="also write the rates to this .npz")] = None,
) -> None:
    """Measure how often each test of the package is wrong. Stop it at any time; it goes on where it was."""
    from rarefire import simulations as simulated

    table = simulated.error_rates(n=simulations, use_shipped=not recompute, progress=True)
    print(table.to_string(index=False, float_format="%.3f"))
    if ship is not None:
        print(f"written: {simulated.ship(ship, n=simulations)}")


@app.command()
@_readable
def book(
    root: Annotated[Path, typer.Argument(help="folder with _config.yml and _toc.yml")] = Path("."),
    profile: Annotated[
        str, typer.Option(help="default, or full: recompute everything from the data")
    ] = "default",
    instances: Annotated[int | None, typer.Option(help="networks per image set", min=3)] = None,
    seed: Annotated[int | None, typer.Option(help="the network looked at closely", min=0)] = None,
) -> None:
    """Execute the chapters that changed and build the book into _build/html."""
    if seed is not None and seed >= (instances or 50):
        raise InputError(
            f"--seed names one of the {instances or 50} instances, 0 to {(instances or 50) - 1}; got {seed}."
        )
    if not (root / "_toc.yml").is_file():
        raise DataError(
            f"{root.resolve()} holds no _toc.yml: run this in a clone of the book. Its chapters do not come "
            "with the package."
        )
    from rarefire import book

    given = {"profile": profile, "instances": instances, "seed": seed}
    overridden = {name: v for name, v in given.items() if v not in (None, "default")}
    print(book.build(root, parameters=overridden))
