"""What the commands share: the program, its errors, its files."""

from __future__ import annotations

import os
import re
import shutil
import sys
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import rarefire
from rarefire.cli import streams
from rarefire.errors import DataError, InputError, RarefireError, RarefireWarning, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from rarefire.files import Found
    from rarefire.stimuli import Stimuli

__all__ = [
    "GROUPS",
    "Array",
    "Background",
    "ByPosition",
    "Embedding",
    "Grouped",
    "HumanArray",
    "Network",
    "Recompute",
    "Scheduler",
    "Ship",
    "Weights",
    "apart",
    "app",
    "appearing",
    "at_work",
    "categories_of",
    "describe",
    "evenly",
    "images_of",
    "is_lenet",
    "judged",
    "lenet_options",
    "named",
    "opened",
    "outputs",
    "outside",
    "place_for",
    "reached",
    "read_for",
    "readable",
    "record",
    "run",
    "suited",
    "tables_opened",
    "trained",
    "trainer",
    "write_tables",
]

Embedding = Annotated[
    Path,
    typer.Argument(
        help="(n_images, n_features), post-ReLU: .npy, zarr (also at an address, s3://…), .npz, .mat, .h5, "
        ".pt, .csv or .txt"
    ),
]
Array = Annotated[str | None, typer.Option(help="which array of the embedding's file, where it has several")]
HumanArray = Annotated[str | None, typer.Option(help="which array of the RDM's file, where it has several")]
Background = Annotated[str, typer.Option(help="colour behind transparent pictures")]
Network = Annotated[
    str,
    typer.Option(
        help="a torchvision classifier, or a function that returns a network: path/to/nets.py:function"
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="a state dict (.pth, .ckpt, .safetensors), or torchvision's name (DEFAULT, IMAGENET1K_V1); "
        "default: those on this machine, or its own"
    ),
]
ByPosition = Annotated[
    bool, typer.Option("--by-position", help="match images row by row, whatever their names")
]
Recompute = Annotated[bool, typer.Option(help="leave the results shipped with the book aside")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="compute with Dask: local (a process for each core), or the address of a scheduler "
        "(tcp://host:8786) whose workers reach the same files"
    ),
]
Ship = Annotated[Path | None, typer.Option(help="also write the results to this .npz")]

#: Modules that an optional part of the package brings, and what that is called.
_OPTIONAL = {
    **dict.fromkeys(("yaml", "nbformat", "papermill", "jupyter_book", "latex2mathml"), "book"),
    **dict.fromkeys(("dask", "distributed", "fsspec", "zarr"), "scale"),
    "h5py": "files",
}

#: Options that name a file to write, and arguments that name one to read, or something by its name.
_WRITTEN = {"names", "out", "plot", "read", "ship"}
_READ = {"images", "judgments", "source", "weights"}

#: The commands by what one wants to do, in the order of use.
GROUPS = {
    "All at once": ("report",),
    "Look at features": ("embed", "poz", "curve", "explore"),
    "People": ("rdm", "people"),
    "Ghost features": ("ghosts",),
    "Layers": ("dimension", "layers"),
    "Pruning": ("prune",),
    "The book": ("book", "record"),
}


class Grouped(TyperGroup):
    """The program: its commands stand in :data:`GROUPS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, group after group; those without one last."""
        there = super().list_commands(ctx)
        named = [name for names in GROUPS.values() for name in names if name in there]
        return [*named, *(name for name in there if name not in named)]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A list for each group."""
        there = self.list_commands(ctx)
        longest = max(map(len, there))
        rest = {"Others": [name for name in there if not any(name in names for names in GROUPS.values())]}
        for title, names in {**GROUPS, **rest}.items():
            commands = [(name, self.get_command(ctx, name)) for name in names if name in there]
            rows = [
                (name.ljust(longest), command.get_short_help_str(formatter.width - 6 - longest))
                for name, command in commands
                if command is not None
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


app = typer.Typer(cls=Grouped, no_args_is_help=True, rich_markup_mode=None)
record = typer.Typer(
    no_args_is_help=True, help="Measure what the book keeps. Stop it at any time; it goes on where it was."
)
app.add_typer(record, name="record")


def run() -> None:
    """Run the program: what a user got wrong is one readable line, never a traceback."""
    warnings.formatwarning = _one_line
    streams.prepare()
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except TyperException as error:
        print(f"rarefire: {error.format_message().rstrip('.')}. See rarefire --help.", file=sys.stderr)
        status = 2
    sys.exit(streams.status_after(status if isinstance(status, int) else 0))


def _one_line(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> str:
    """A warning, as a user reads it."""
    return f"{'rarefire' if issubclass(category, RarefireWarning) else category.__name__}: {message}\n"


def readable(command: Callable[..., None], *, to_folder: bool = False) -> Callable[..., None]:
    """An error of ours is one readable message and exit status 1, never a traceback.

    What the command is to write can be written, or it does not start; `to_folder`: ``--out`` is a folder.
    """

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            _check_given(kwargs, to_folder=to_folder)
            with _standard_output_left_to_files(kwargs.values()):
                command(*args, **kwargs)
        except RarefireError as error:
            if isinstance(error.__cause__, BrokenPipeError):  # a file to write is a pipe that nobody reads
                raise typer.Exit(streams.PIPE_CLOSED) from None
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


def _check_given(given: Mapping[str, Any], *, to_folder: bool) -> None:
    """Numbers are such, paths lead somewhere, and what is to be written can be."""
    from rarefire import files
    from rarefire._engine import arguments

    for name, value in given.items():
        if isinstance(value, Path) and name == "out" and (value.suffix == ".zarr" or files.address(value)):
            continue  # a store is a folder, there or not
        if isinstance(value, Path) and name in _WRITTEN and not (to_folder and name == "out"):
            arguments.check_writable(f"--{name}", value)
        elif isinstance(value, Path) or (isinstance(value, str) and name in _READ):
            arguments.check_path(name, value)
        elif isinstance(value, float):
            arguments.check_number(f"--{name}", value)
        elif name == "seed" and value is not None:
            arguments.check_whole("--seed", value)


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
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="say which, and leave", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What rarely firing features do in a vision network: PoZ, nested RSA curves, and the book on them."""


@contextmanager
def at_work(scheduler: str | None) -> Iterator[None]:
    """Within the block, what is measured apart is measured by a cluster, where one is named."""
    with ExitStack() as stack:
        if scheduler is not None:
            from rarefire import cluster

            stack.enter_context(cluster.at_work(None if scheduler == "local" else scheduler))
        yield


def opened(embedding: Path | str, array: str | None = None) -> Found:
    """An embedding from a file, and the names of its rows; of what was taken from it is said."""
    from rarefire import files
    from rarefire._engine import blocks

    found = files.read(embedding, array=array)
    if found.what:
        print(found.what)
    return replace(found, values=blocks.check_source(found.values, least=1))


def reached(embedding: Path, found: Found, scheduler: str | None) -> tuple[Any, dict[str, Any]]:
    """What a cluster is given: a file or store that workers open, or what was read; and its options."""
    import numpy as np

    from rarefire import files

    opens = isinstance(found.values, np.memmap) or not isinstance(found.values, np.ndarray)
    inside = getattr(found.values, "path", "")  # of a zarr array in a group
    place: Any = found.values
    if opens:
        place = files.address(embedding) or embedding
        place = f"{place}/{inside}" if inside else place
    address = None if scheduler == "local" else scheduler
    return place, {"scheduler": address, "progress": sys.stderr.isatty()}


def describe(path: Path, array: str | None = None) -> None:
    """Say what a file's RDMs are taken for."""
    from rarefire import rdm

    said = rdm.described(path, array=array)
    if said:
        print(said)


def trained(network: str, weights: str, size: int) -> Any:
    """A network with its weights: those named, those on this machine, or those that one's own brings."""
    return trainer(network, weights, size)()


def trainer(network: str, weights: str, size: int, *, anywhere: bool = False) -> Callable[[], Any]:
    """What makes a network with its weights, as :func:`trained`; `anywhere`: from other folders too."""
    from rarefire import networks

    networks.check_name(network)
    state: str | Path | None = weights or networks.local_weights(network)
    if state is None and ":" not in network:
        raise InputError(
            f"no weights of {network} on this machine. Say --weights DEFAULT to download torchvision's, "
            "or name a state dict."
        )
    own, name = networks.own_file(network), network
    if anywhere and own:
        name = f"{own.absolute()}:{networks.short_name(network)}"
    if anywhere and state is not None and os.path.exists(state):
        state = Path(state).absolute()
    return partial(networks.build, name, input_shape=(3, size, size), weights=state)


def is_lenet(network: str) -> bool:
    """Whether it is one of the LeNets, which are sized by their images."""
    return network.startswith("lenet") and ":" not in network


def lenet_options(images: Stimuli) -> dict[str, Any]:
    """What builds a LeNet for these images."""
    return {
        "input_shape": tuple(map(int, images.input_shape)),
        "n_classes": len(images.class_names),
        "mean": images.mean,
        "std": images.std,
    }


def suited(network: str, weights: str, images: Stimuli) -> nn.Module:
    """A network with its weights, for these images: as :func:`trained`, and LeNets of their size."""
    from rarefire import networks, records

    if not is_lenet(network):
        model: nn.Module = trained(network, weights, images.images.shape[-1])
        return model
    if weights:
        return networks.build(network, weights=weights, **lenet_options(images))
    if images.name.startswith("folder:"):
        raise InputError(f"no weights of {network} for {images.name}: name a state dict with --weights.")
    found: nn.Module | None = records.ensembles.trained(images.name, network)
    assert found is not None  # the images are here
    return found


def outputs(model: nn.Module, images: Stimuli, name: str) -> int:
    """How many outputs there are."""
    import torch

    try:
        with torch.inference_mode():
            output = model(torch.from_numpy(images.images[:1]))
    except Exception as error:  # what a network does not take fails in as many ways as there are networks
        c, h, w = images.input_shape
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name} does not take these images, {c} × {h} × {w} ({type(error).__name__}: {reason[:200]}). "
            "Give images as it was trained on (--size for those of a folder)."
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise InputError(f"{name} must return one tensor, (n_images, noutputs); wrap it in one that does.")
    return int(output.shape[1])


def evenly(n: int, most: int) -> NDArray[np.intp]:
    """At most so many of `n` rows, evenly spaced."""
    import numpy as np

    return np.linspace(0, n - 1, min(n, most)).astype(np.intp)


def images_of(
    name: str,
    size: int | None,
    network: str,
    rows: Callable[[int], NDArray[np.intp]],
    *written: Path | None,
    background: str = "white",
) -> tuple[Stimuli, int]:
    """Some of an image set's test images, or of a folder's, to show a network, and how many there are.

    Parameters
    ----------
    name
        An image set, or a folder; that of one picture of each ImageNet class goes by its name.
    size
        Of a folder's images, in pixels; by default 224, unless the network is a LeNet.
    network
        Which is to see them.
    rows
        Of their number: which ones.
    *written
        Files that must not lie among them.
    background
        The colour behind a folder's transparent pictures.
    """
    import numpy as np

    from rarefire import files, stimuli

    if name in stimuli.NAMES:
        whole = stimuli.load(name, "test", size=size)
        return whole.subset(rows(len(whole))), len(whole)
    folder: Path | None = Path(name.removeprefix("folder:")).expanduser()
    if name == stimuli.SAMPLE and not Path(name).is_dir():
        folder = stimuli.gallery_root()
    if folder is None or not (folder.is_dir() or files.is_zarr(folder)):
        raise unknown("image set", name, stimuli.NAMES, hint=f"Nor is there a folder {folder or name}.")
    outside(folder, *written)
    if size is None and is_lenet(network):
        raise InputError(f"{network} is made for images of one size: say which with --size.")
    gallery = stimuli.gallery(folder, size=size, background=background)
    classes, use = tuple(sorted(set(gallery.names))), rows(len(gallery))
    labels = np.searchsorted(classes, [gallery.names[i] for i in use]).astype(np.int64)
    shown = stimuli.Stimuli(f"folder:{folder}", "all", gallery[use], labels, classes, folder.name)
    return shown, len(gallery)


def named(human: Path | None, **options: object) -> None:
    """Options that say how to read an RDM come with one."""
    said = next((option for option, given in options.items() if given), None)
    if human is None and said:
        raise InputError(f"{said} says how to read the RDM; name one with --human.")


def judged(
    human: Path,
    embedding: Path,
    found: Found,
    *,
    similarity: bool,
    by_position: bool,
    array: str | None,
) -> tuple[NDArray[np.float64], str]:
    """An RDM of an embedding's images, condensed, in the order of its rows; and how they were matched."""
    import numpy as np

    from rarefire import names, rdm

    n = found.values.shape[0]
    describe(human, array)
    values, above, before = rdm.read_named(human, similarity=similarity, array=array)
    given = None if by_position else names.of_matrix(above, before, human)
    own = None if by_position else found.names
    matched = names.align(
        own, given, n_images=n, own_file=embedding, other_file=human, by_position=by_position
    )
    n_judged = len(rdm.square(values))
    if n_judged == found.values.shape[1] != n:
        raise InputError(
            f"{embedding.name} has {n:,} rows and {n_judged:,} columns, the RDM {n_judged:,} images: rows "
            "are images. Save it turned (E.T)."
        )
    values = rdm.check_rdm(values, n)
    return rdm.square(values)[np.ix_(matched.rows, matched.rows)][np.triu_indices(n, 1)], matched.how


def read_for(network: str, weights: str) -> list[Path]:
    """The files that a network is made from, as far as they are named."""
    from rarefire import networks

    own = networks.own_file(network)
    return [*([Path(weights)] if weights else []), *([own] if own else [])]


def apart(*paths: Path | None) -> None:
    """No file that is written is one that is read, or another one that is written."""
    named = [os.path.realpath(path) for path in paths if path is not None]
    for path in named:
        if named.count(path) > 1:
            raise InputError(
                f"{Path(path).name} is named twice: what is written must not replace what is read."
            )


def outside(folder: Path, *paths: Path | None) -> None:
    """No file that is written lies among the images that are read."""
    for path in paths:
        if path is not None and Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents:
            raise InputError(f"{path.name} would lie among the images that are read; write it elsewhere.")


def write_tables(tables: Mapping[Path, Any]) -> None:
    """CSVs: all of them, whole, or none."""
    with tables_opened(tables):
        pass


@contextmanager
def tables_opened(tables: Mapping[Path, Any]) -> Iterator[None]:
    """CSVs that are written now and appear at the end of the block; none does if the block fails."""
    from rarefire import store

    with ExitStack() as stack:
        for path, table in tables.items():
            stack.enter_context(store.atomic_write(path)).write(table.to_csv(index=False).encode())
        yield


def categories_of(
    labels: Path, own_file: Path | str, own: Sequence[str] | None, n: int, *, by_position: bool
) -> tuple[list[str], str]:
    """Each image's category, in the order of the images; and how they were matched.

    Parameters
    ----------
    labels
        As :func:`rarefire.labels.read` takes them.
    own_file, own, n
        Where the images are from, their names, or None, and how many there are.
    by_position
        Whatever the names.
    """
    from rarefire import labels as read
    from rarefire import names

    given = read.read(labels, n)
    said = f" ({given.what})" if given.what else ""
    if given.names is None:  # a category a line has no place for names
        beside = f", a line for each image of {Path(own_file).name}" if own else ""
        return given.categories, f"by position{beside}{said}"
    matched = names.align(
        own, given.names, n_images=n, own_file=own_file, other_file=labels, by_position=by_position
    )
    return [given.categories[i] for i in matched.rows], matched.how + said


def place_for(out: Path, is_ours: Callable[[Path], bool], command: str, read: Iterable[Path]) -> Path:
    """Where a folder goes: nothing is there, or what the command wrote, and nothing in it is read."""
    place = Path(os.path.realpath(out))
    if place.exists() and not is_ours(place):
        raise InputError(
            f"{out} is there, and not from rarefire {command}. Name a folder that is not there yet."
        )
    for path in read:
        if place in Path(os.path.realpath(path)).parents:
            raise InputError(f"{path} lies in {out}, which would be replaced; write elsewhere.")
    return place


def _sweep(place: Path) -> None:
    """Remove what killed runs have left beside `place`; there is no other one now."""
    left = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{32}}\.(tmp|old)")
    found = [path for path in place.parent.glob(".*") if left.fullmatch(path.name)]
    for path in found:
        if path.suffix == ".old" and not place.exists():  # stopped between the two steps
            os.replace(path, place)
        else:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def appearing(place: Path) -> Iterator[Path]:
    """A folder beside `place` that takes its place at the end of the block; it is gone if the block fails."""
    fresh, old = (place.with_name(f".{place.name}.{uuid.uuid4().hex}.{end}") for end in ("tmp", "old"))
    _sweep(place)
    try:
        fresh.mkdir(parents=True)
        yield fresh
        try:
            if place.exists():
                os.replace(place, old)
            os.replace(fresh, place)
        except BaseException:
            if old.exists() and not place.exists():
                os.replace(old, place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"could not write {place}: {error.strerror or error}. Nothing was changed."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
