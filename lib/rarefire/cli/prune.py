"""``rarefire prune``: a network without some of its units or weights, and what that did to it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from rarefire.cli.common import (
    Weights,
    app,
    appearing,
    is_lenet,
    lenet_options,
    outputs,
    outside,
    place_for,
    read_for,
    readable,
    suited,
)
from rarefire.errors import InputError, RarefireError, UnknownNameError, unknown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from rarefire.removal import Site
    from rarefire.stimuli import Stimuli

__all__ = ["prune"]

_MAGNITUDE = "magnitude"
_FILES = (
    *("network.py", "network.pth", "cost.csv", "layers.csv", "units.csv", "weights.csv", "provenance.json"),
    "__pycache__",  # left by who imports network.py
)
_FEW = 16  # images on which two networks are checked to be the same
_SAME = 1e-3  # of the largest output
_COMPARED = 500  # images of which layers are compared, at most …
_FLOATS = 2**25  # … and fewer where a layer has more numbers than this for them
_SHUFFLES = 5
_REPEATS = 5  # of the timed batch


@app.command()
@partial(readable, to_folder=True)
def prune(
    network: Annotated[
        str, typer.Argument(help="lenet5, a torchvision classifier, or path/to/nets.py:function")
    ],
    images: Annotated[str, typer.Argument(help="digits, mnist, cifar10, or a folder with one per class")],
    keep: Annotated[float, typer.Option(help="share of the units, or of the weights, that stays")],
    out: Annotated[Path, typer.Option(help="folder for the network and the tables")],
    method: Annotated[
        str,
        typer.Option(
            help="units: poz, mean, sd, entropy, norm, taylor, ablation, random; weights: magnitude"
        ),
    ] = "poz",
    layer: Annotated[
        list[str] | None, typer.Option(help="whose units; several by naming it again; default: penultimate")
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="of magnitude: each layer's share (layer), or global")
    ] = None,
    retrain: Annotated[int, typer.Option(help="epochs of training afterwards", min=0)] = 0,
    weights: Weights = "",
    size: Annotated[
        int | None, typer.Option(help="of a folder's images, in pixels; default: 224", min=16, max=2048)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="images at a time", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="of random, and of training", min=0)] = 0,
) -> None:
    """Prune a network, say what it costs and how alike it still is, and write it as a network to use."""
    import numpy as np
    import pandas as pd

    from rarefire import networks, removal, store

    _check(method, keep, layer, scope)
    networks.check_name(network)
    place = place_for(out, _is_ours, "prune", read_for(network, weights))
    ranked, judged = _images(images, network, size, out)
    model, built = _network(network, weights, judged, place)
    n_outputs = outputs(model, judged, networks.short_name(network))
    n_classes = len(judged.class_names)
    labelled = n_outputs == n_classes > 1
    mismatch = (
        f"{images} has {n_classes if n_classes > 1 else 'no'} classes and the network {n_outputs} outputs"
    )
    if not labelled:
        asked = "--retrain" if retrain else f"--method {method}"
        if retrain or method in removal.LABELLED:
            raise InputError(
                f"{asked} needs labels, but {mismatch}. Give a folder with one of images for each output, in "
                "alphabetical order."
            )
        ranked, judged = (
            replace(each, labels=np.zeros_like(each.labels), class_names=("",)) for each in (ranked, judged)
        )
    print(f"Ranked on {len(ranked):,} images ({ranked.split}), judged on {len(judged):,} ({judged.split}).")
    if not labelled:
        print(f"Accuracy is not reported: {mismatch}.")

    if method == _MAGNITUDE:
        pruned = _without_weights(model, keep, scope or "layer")
    else:
        pruned = _without_units(model, ranked, method, keep, layer, seed, batch_size)
        otherwise = "removing these units changes more than silencing them would. Name another --layer."
        _check_same(removal.silenced(model, pruned.gone), pruned.network, judged, otherwise)
    facts: dict[str, Any] = {
        "network": networks.short_name(network),
        "network_digest": networks.digest(model),
        "images": images,
        "size": size,
        "ranked_digest": ranked.digest,
        "judged_digest": judged.digest,
        "labelled": labelled,
        "method": method,
        "keep": keep,
        "scope": scope,
        "widths": pruned.widths,
        "seed": seed,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.alone(place))
        checkpoint = None
        if retrain:
            recipe = _recipe(network, ranked, retrain, batch_size)
            facts["recipe"] = recipe.facts()
            checkpoint = place.with_name(f".{place.name}-{store.key(**facts)}.training")
            _train(pruned, ranked, recipe, seed, checkpoint)
        cost = pd.DataFrame(
            [
                {"network": name, **_cost(each, judged, labelled, batch_size)}
                for name, each in (("before", model), ("after", pruned.network))
            ]
        )
        layers = _layers(model, pruned.network, judged, batch_size)
        tables = {"cost.csv": cost, "layers.csv": layers, pruned.table_name: pruned.table}
        with appearing(place) as fresh:
            _write(fresh, pruned, built, judged)
            for name, table in tables.items():
                table.to_csv(fresh / name, index=False)
            stamp = store.provenance("prune", facts)
            (fresh / "provenance.json").write_text(json.dumps(stamp, indent=1) + "\n")
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
    print(cost.dropna(axis=1, how="all").to_string(index=False, float_format="%.4g"))
    print(layers.to_string(index=False, float_format="%.3f"))
    print(f"{pruned.kept}: {_result(cost, layers, retrain)}.")
    print(f"Written: {out}")


# --- what is asked for ---------------------------------------------------------------------------


def _check(method: str, keep: float, layers: Sequence[str] | None, scope: str | None) -> None:
    from rarefire import removal

    if method not in (*removal.ORDERS, _MAGNITUDE):
        raise unknown("method", method, [*removal.ORDERS, _MAGNITUDE])
    if not 0 < keep <= 1:
        raise InputError(f"--keep is a share in (0, 1]; got {keep:g}.")
    if layers and method == _MAGNITUDE:
        raise InputError("--layer is for methods that remove units; magnitude masks weights of every layer.")
    if scope is not None and method != _MAGNITUDE:
        raise InputError(f"--scope is for --method magnitude; {method} removes units of a layer.")
    if scope not in (None, "layer", "global"):
        raise unknown("scope", str(scope), ["layer", "global"])


def _is_ours(place: Path) -> bool:
    if not place.is_dir():
        return False
    there = {path.name for path in place.iterdir()}
    if not there:
        return True
    try:
        stamp = json.loads((place / "provenance.json").read_text())
    except (OSError, ValueError):
        return False
    return there <= set(_FILES) and isinstance(stamp, dict) and stamp.get("question") == "prune"


def _images(name: str, network: str, size: int | None, out: Path) -> tuple[Stimuli, Stimuli]:
    """Images to rank by, and others to judge by."""
    import numpy as np

    from rarefire import stimuli

    folder = Path(name.removeprefix("folder:")).expanduser()
    if name in stimuli.NAMES:
        ranked, judged = (stimuli.load(name, split, size=size) for split in ("train", "test"))
    elif not folder.is_dir():
        raise unknown("image set", name, stimuli.NAMES, hint=f"Nor is there a folder {folder}.")
    else:
        outside(folder, out)
        if size is None and not is_lenet(network):
            size = 224
        if any(path.is_dir() and not stimuli.is_left_over(path.name) for path in folder.iterdir()):
            ranked, judged = stimuli.splits(f"folder:{folder}", size=size)
        else:
            files = stimuli.image_files(folder)
            if len(files) < 8:
                raise InputError(
                    f"{name} holds {len(files)} images; at least 8 are needed, half of them to rank by."
                )
            shown = stimuli.pictures(files, folder, size=size)
            labels = np.zeros(len(shown), dtype=np.int64)
            whole = stimuli.Stimuli(f"folder:{folder}", "one set", shown, labels, ("",), folder.name)
            ranked, judged = whole.halves()
    if len(judged) < 4:
        raise InputError(f"{name} has {len(judged)} images to judge by (test); at least 4 are needed.")
    return ranked, judged


def _network(network: str, weights: str, images: Stimuli, place: Path) -> tuple[nn.Module, str]:
    """The network, and the Python that builds it again with other weights."""
    model = suited(network, weights, images)
    if not is_lenet(network):
        return model, _built(network, place)
    options = lenet_options(images)
    text = ", ".join([repr(network), *(f"{name}={value!r}" for name, value in options.items())])
    return model, f"networks.build({text})"


def _built(network: str, place: Path) -> str:
    """Of a network of one's own, its file as seen from the folder that is written."""
    from rarefire import networks

    name, _, called = network.rpartition(":")
    file = networks.own_file(network)
    if file is None and name and Path(f"{name}.py").is_file():  # a module found in the current folder
        file = Path(f"{name}.py")
    if file is None:
        return f"networks.build({network!r})"
    try:
        seen = Path(os.path.relpath(os.path.realpath(file), place))
    except ValueError:  # on another drive
        seen = Path(os.path.realpath(file))
    return f"networks.build(str(HERE / {seen.as_posix()!r}) + {':' + called!r})"


# --- pruning -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pruned:
    """A network without some units or weights.

    Attributes
    ----------
    network
        Which is trained in its place.
    masks
        Of its weights; None where units were sliced out.
    gone
        By layer, the places of units that are no longer there.
    widths
        By layer, how many stayed.
    table, table_name
        Of the units, or of the weights.
    kept
        In words.
    """

    network: nn.Module
    masks: Mapping[str, Tensor] | None
    gone: Mapping[str, NDArray[np.intp]]
    widths: dict[str, int]
    table: pd.DataFrame
    table_name: str
    kept: str


def _without_units(
    model: nn.Module,
    images: Stimuli,
    by: str,
    keep: float,
    layers: Sequence[str] | None,
    seed: int,
    batch_size: int,
) -> _Pruned:
    import numpy as np
    import pandas as pd

    from rarefire import curves, embeddings, poz, removal

    where = {
        each.layer: each for each in (_site(model, n, images) for n in layers or [embeddings.PENULTIMATE])
    }
    rng, gone, tables, kept = np.random.default_rng(seed), {}, [], []
    for layer, each in where.items():
        rates = _rates(model, images, each, by, batch_size)
        if by == "poz":
            important = 1 - rates
        else:
            options: dict[str, Any] = {"layer": each.activation, "rng": rng, "batch_size": batch_size}
            important = removal.importance(model, images, by, **options)
        if len(important) != each.n_units:
            raise InputError(f"units of {layer} are not its second dimension and cannot be ranked.")
        stays = np.zeros(each.n_units, dtype=bool)
        stays[poz.order(important, first="high")[: curves.count(keep, each.n_units)]] = True
        gone[layer] = np.flatnonzero(~stays)
        units = {"unit": np.arange(each.n_units), "importance": important, "poz": rates, "kept": stays}
        tables.append(pd.DataFrame({"layer": layer, **units}))
        kept.append(f"{stays.sum():,} of {each.n_units:,} units of {layer}")
    how = "drawn at random" if by == "random" else f"the most important by {by}"
    return _Pruned(
        network=removal.removed(model, gone),
        masks=None,
        gone=gone,
        widths={layer: each.n_units - len(gone[layer]) for layer, each in where.items()},
        table=pd.concat(tables),
        table_name="units.csv",
        kept=f"Kept {' and '.join(kept)} ({how})",
    )


def _site(model: nn.Module, layer: str, images: Stimuli) -> Site:
    """A layer whose units are sliced; its activations are what the last layer reads, if no ReLU is seen."""
    import torch

    from rarefire import embeddings, removal

    try:
        found = removal.site(model, layer)
    except UnknownNameError as error:
        if layer != embeddings.PENULTIMATE:
            raise
        raise UnknownNameError(
            f"{error} Name one with --layer, or mask weights instead: --method magnitude."
        ) from error
    unseen = found.activation == found.layer and found.positions == 1  # its ReLU is a function, no layer
    if unseen and found.reader == embeddings.last_weighted(model, torch.from_numpy(images.images[:1])):
        return replace(found, activation=embeddings.PENULTIMATE)
    return found


def _rates(model: nn.Module, images: Stimuli, where: Site, by: str, batch_size: int) -> NDArray[np.float64]:
    """PoZ of a layer's units; NaN where it is not defined, and not what they are ordered by."""
    import numpy as np

    from rarefire import removal

    try:
        return removal.apoz(model, images, [where], batch_size=batch_size)[where.layer]
    except InputError as error:
        if by == "poz":
            raise InputError(
                f"units of {where.layer} have no PoZ: {error} Or choose another --method, such as norm."
            ) from error
        return np.full(where.n_units, np.nan)


def _without_weights(model: nn.Module, keep: float, scope: str) -> _Pruned:
    import copy

    import pandas as pd
    import torch

    from rarefire import pruning

    masks, rate = pruning.full_masks(model), 1 - keep
    masks = pruning.magnitude_masks(
        model.state_dict(), masks, rate=rate, last_rate=rate, scope=cast(Literal["layer", "global"], scope)
    )
    sparse = copy.deepcopy(model)
    parameters = dict(sparse.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)
    left = pruning.left(masks)
    table = pd.DataFrame(
        {
            "layer": [name.removesuffix("weight").rstrip(".") for name in masks],
            "weights": [mask.numel() for mask in masks.values()],
            "kept": list(left.values()),
        }
    )
    how = "the largest of each layer" if scope == "layer" else "the largest of all layers together"
    return _Pruned(
        network=sparse,
        masks=masks,
        gone={},
        widths={},
        table=table,
        table_name="weights.csv",
        kept=f"Kept {table.kept.sum():,} of {table.weights.sum():,} weights ({how})",
    )


def _recipe(network: str, images: Stimuli, epochs: int, batch_size: int) -> Any:
    """An image set's own for a LeNet; small steps for another network, which was trained elsewhere."""
    from rarefire import training

    recipe = training.recipe_for(images.name)
    if not is_lenet(network):
        recipe = replace(recipe, learning_rate=1e-4, batch_size=batch_size)
    return replace(recipe, max_epochs=epochs, patience=epochs)


def _train(pruned: _Pruned, images: Stimuli, recipe: Any, seed: int, checkpoint: Path) -> None:
    from tqdm import tqdm

    from rarefire import training

    with tqdm(total=recipe.max_epochs, desc="training again", disable=not sys.stderr.isatty()) as bar:

        def report(epoch: int, accuracy: float, _: bool) -> None:
            bar.set_postfix(accuracy=f"{accuracy:.1%}", refresh=False)
            bar.update(epoch - bar.n)

        options: dict[str, Any] = {"recipe": recipe, "seed": seed, "masks": pruned.masks, "report": report}
        training.fit(pruned.network, images, path=checkpoint, **options)


# --- before and after ----------------------------------------------------------------------------


def _check_same(first: nn.Module, second: nn.Module, images: Stimuli, otherwise: str) -> None:
    import torch

    shown = torch.from_numpy(images.images[:_FEW])
    with torch.inference_mode():
        a, b = first(shown), second(shown)
    if not float((a - b).abs().max()) <= _SAME * float(a.abs().max()):
        raise RarefireError(otherwise)


def _cost(network: nn.Module, images: Stimuli, labelled: bool, batch_size: int) -> dict[str, float]:
    import numpy as np
    import torch

    from rarefire import removal, training

    batch = images.images[:batch_size]
    found = removal.cost(network, batch, repeats=_REPEATS)
    accuracy = balanced = np.nan
    if labelled:
        accuracy = training.accuracy(network, images, batch_size=batch_size)
        balanced = float(np.nanmean(removal.balanced_accuracy(network, images, batch_size=batch_size)))
    return {
        "parameters": found.parameters,
        "nonzero": sum(int(torch.count_nonzero(p)) for p in network.parameters()),
        "flops": found.flops,
        "seconds": found.seconds,
        "images": len(batch),
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
    }


def _layers(before: nn.Module, after: nn.Module, images: Stimuli, batch_size: int) -> pd.DataFrame:
    """How alike each layer is; canonical correlations beside those with the images in another order."""
    import numpy as np
    import pandas as pd
    from tqdm import tqdm

    from rarefire import embeddings, removal, similarity

    named = [n for n, m in before.named_modules() if n and isinstance(m, removal.ACTIVATIONS)]
    rng, rows = np.random.default_rng(0), []
    for layer in tqdm([*named, embeddings.PENULTIMATE, ""], desc="layers", disable=not sys.stderr.isatty()):
        try:
            shape = embeddings.extract(before, images.images[:1], layer=layer, spatial="keep").shape
        except InputError:
            if layer in named:  # defined, but not used
                continue
            raise
        if len(shape) not in (2, 4):
            continue
        n = min(len(images), _COMPARED, max(4, _FLOATS // int(np.prod(shape))))
        shown = images.images[np.linspace(0, len(images) - 1, n).astype(int)]  # folders come class by class
        options: dict[str, Any] = {"layer": layer, "spatial": "keep", "batch_size": batch_size}
        first, second = (embeddings.extract(each, shown, **options) for each in (before, after))
        orders = (rng.permutation(n) for _ in range(_SHUFFLES))
        chance = [similarity.compare(first, second[o], measures=["cca"])["cca"] for o in orders]
        row = {"layer": layer or "outputs", "images": n, "before": shape[1], "after": second.shape[1]}
        rows.append(row | similarity.compare(first, second) | {"cca_chance": float(np.mean(chance))})
    return pd.DataFrame(rows)


def _result(cost: pd.DataFrame, layers: pd.DataFrame, retrain: int) -> str:
    """One sentence on what became of the network."""
    from rarefire import embeddings

    before, after = cost.to_dict("records")
    said = []
    if before["accuracy"] == before["accuracy"]:
        again = f" after training again ({retrain} epoch{'s' * (retrain > 1)})" if retrain else ""
        said.append(f"accuracy {before['accuracy']:.3f} → {after['accuracy']:.3f}{again}")
    if after["parameters"] == before["parameters"]:
        said.append(f"{before['nonzero']:,} → {after['nonzero']:,} parameters that are not 0")
    else:
        said.append(f"{before['parameters']:,} → {after['parameters']:,} parameters")
    r2 = layers.set_index("layer").pearson[embeddings.PENULTIMATE]
    said.append(f"penultimate R² {r2:.3f}" if r2 == r2 else "penultimate R² undefined")
    return ", ".join(said)


# --- what is written -----------------------------------------------------------------------------

_SOURCE = '''"""{title}. For rarefire: --network path/to/network.py:network."""

from pathlib import Path

from rarefire import {modules}

HERE = Path(__file__).resolve().parent


def network():
    network = {built}
{resized}    return networks.load_weights(network, HERE / "network.pth")
'''


def _write(folder: Path, pruned: _Pruned, built: str, images: Stimuli) -> None:
    """The network, as files that make it again, which is tried."""
    import torch

    from rarefire import networks

    # Cloned: a tensor that is a part of another is saved with all of it.
    state = {name: value.detach().clone() for name, value in pruned.network.state_dict().items()}
    torch.save(state, folder / "network.pth")
    resized = f"    network = removal.resized(network, {pruned.widths!r})\n" if pruned.widths else ""
    modules = "networks, removal" if pruned.widths else "networks"
    source = _SOURCE.format(title=pruned.kept, modules=modules, built=built, resized=resized)
    (folder / "network.py").write_text(source, encoding="utf-8")
    again = networks.build(f"{folder / 'network.py'}:network")
    otherwise = "the network cannot be built again as it was: name a function that gives the same each time."
    _check_same(pruned.network, again, images, otherwise)
