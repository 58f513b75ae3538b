"""``rarefire record``: what the book keeps, measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rarefire.cli.common import (
    Network,
    Recompute,
    Scheduler,
    Ship,
    Weights,
    apart,
    at_work,
    read_for,
    readable,
    record,
    trained,
)

__all__ = [
    "Images",
    "Instances",
    "Jobs",
    "Networks",
    "blocks",
    "dimension",
    "ensembles",
    "error_rates",
    "ghosts",
    "ghosts_by_class",
    "gradient",
    "information",
    "layer_choice",
    "people_across",
    "people_by_class",
    "people_orders",
    "pruned",
    "rank",
    "recipes",
    "sequences",
    "subnetworks",
]

Jobs = Annotated[int | None, typer.Option(help="processes; default: one per core", min=1)]
Instances = Annotated[int, typer.Option(help="seeds 0, 1, … of that many instances", min=1)]
Images = Annotated[
    str,
    typer.Argument(
        help="digits, mnist or cifar10-jpg: LeNets; an ImageNet network; networks: those that are here"
    ),
]
Networks = Annotated[
    int | None,
    typer.Option(help="of LeNets: seeds 0, 1, … of that many; default: what is recorded", min=1),
]


@record.callback()
@readable
def _options(context: typer.Context, scheduler: Scheduler = None) -> None:
    """Measure what the book keeps. Stop it at any time; it goes on where it was."""
    context.with_resource(at_work(scheduler))


@record.command()
@readable
def ensembles(
    images: Annotated[str, typer.Argument(help="digits, mnist, cifar10, cifar10-jpg or folder:PATH")],
    network: Annotated[str, typer.Option(help="lenet5, lenet5-wide or a torchvision classifier")] = "lenet5",
    instances: Instances = 50,
    jobs: Jobs = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the GPU if any")] = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Train and measure an ensemble."""
    import numpy as np

    from rarefire import networks, poz, records

    networks.check_name(network, own=False)
    seeds, use_shipped = range(instances), not recompute
    options: dict[str, Any] = {"jobs": jobs, "device": device, "use_shipped": use_shipped}
    found = records.ensembles.measure(images, network, seeds=seeds, **options)
    accuracy, rare = found.accuracy, poz.rare_share(found.poz_test)
    print(f"accuracy: median {np.median(accuracy):.1%}, {accuracy.min():.1%} to {accuracy.max():.1%}")
    print(f"features with PoZ > {poz.RARE:.0%}: median {np.median(rare):.0%} of {found.n_features}")
    print(records.source(found))
    if ship is not None:
        if network == "lenet5":  # small enough to travel
            records.ensembles.trained(images, seed=seeds[0], use_shipped=use_shipped)
            for seed in seeds[: records.ensembles.SAMPLED]:
                records.ensembles.excerpt(images, network, seed=seed, use_shipped=use_shipped)
        print(f"written: {records.ensembles.ship(found, ship)}")


@record.command()
@readable
def recipes(
    images: Annotated[str, typer.Argument(help="digits, mnist, cifar10 or cifar10-jpg")],
    names: Annotated[list[str] | None, typer.Argument(help="of variations; default: all")] = None,
    instances: Instances = 3,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Vary the recipe of LeNet-5 and count silent features."""
    import numpy as np
    import pandas as pd

    from rarefire import poz, records

    known = records.recipes.VARIATIONS
    seeds = range(instances)
    options: dict[str, Any] = {"seeds": seeds, "jobs": jobs, "use_shipped": not recompute}
    found = records.recipes.measure(images, names or list(known), **options)
    rows = [
        {
            "name": name,
            "recipe": known[name].title,
            "epochs": np.median(varied.epochs),
            "accuracy": np.median(varied.accuracy),
            f"PoZ > {poz.RARE:.0%}": np.median(varied.rare_share()),
            "never fire": np.median(varied.dead),
        }
        for name, varied in found.items()
    ]
    print(f"{images}, median of {instances} instance{'s' * (instances > 1)}")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))
    if ship is not None:
        print(f"written: {records.recipes.ship(images, ship, seeds=seeds)}")


@record.command("people-by-class")
@readable
def people_by_class(
    judgments: Annotated[str, typer.Argument(help="judgments of classes")] = "cifar10h",
    images: Annotated[str, typer.Option(help="of these classes, on which LeNets are trained")] = "cifar10",
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Compare the class means of fifty LeNets with the classes that people confuse."""
    from rarefire import judgments as people
    from rarefire import records

    found = None if recompute else records.people_by_class.known(judgments)
    if found is None:
        given, options = people.load(judgments), {"seeds": range(50), "use_shipped": False}
        found = records.people_by_class.measure(images, given, **options)
    print(found.changes().to_string(index=False, float_format="%.3f"))
    print(records.source(found))
    if ship is not None:
        print(f"written: {found.ship(ship)}")


@record.command("ghosts-by-class")
@readable
def ghosts_by_class(
    images: Annotated[str, typer.Argument(help="digits, mnist or cifar10")],
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Count the ghosts of every class in fifty LeNets, and how well they separate."""
    import pandas as pd

    from rarefire import records, retrieval
    from rarefire.errors import unknown

    if images not in ("digits", "mnist", "cifar10"):
        raise unknown("image set", images, ["digits", "mnist", "cifar10"])
    found = records.ghosts_by_class.measure(images, seeds=range(50), use_shipped=not recompute)
    columns = dict(zip(retrieval.QUERIES, found.auc.mean(axis=(0, 1)).T, strict=True))
    ghosts = found.expected.mean(axis=(0, 1))
    table = pd.DataFrame({"m": found.m[0], "ghosts of a class": ghosts, **columns})
    print(table.to_string(index=False, float_format="%.3f"))
    print(records.source(found))
    if ship is not None:
        print(f"written: {found.ship(ship)}")


@record.command()
@readable
def ghosts(
    gallery: Annotated[
        Path | None, typer.Option(help="folder of pictures to look through; default: those on this machine")
    ] = None,
    network: Network = "squeezenet1_0",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "features",
    size: Annotated[int, typer.Option(help="of the photographs, in pixels", min=16, max=2048)] = 227,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Read the ghosts of photographs' categories on a gallery."""
    from rarefire import judgments, networks, records, stimuli, store

    apart(ship, *read_for(network, weights))
    model = trained(network, weights, size)
    pictures = stimuli.gallery(gallery, size=size)
    given = judgments.load("mur", size=size)
    name = networks.short_name(network)
    found = records.ghosts.measure(given, pictures, model, name=name, layer=layer, use_shipped=not recompute)
    print(records.ghosts.retrieved(found).to_string(index=False, float_format="%.3f"))
    print(records.source(*found))
    if ship is not None:
        print(f"written: {store.pack(ship, [answer for reading in found for answer in reading.answers])}")


@record.command("people-across")
@readable
def people_across(
    networks: Annotated[list[str] | None, typer.Argument(help="default: all that are here")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="of judgments; default: all")] = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Leave rarely firing features out of several networks, and predict several sets of judgments."""
    from rarefire import records

    across = records.people_across
    found, gaps, caps = None, None, None
    if not (recompute or networks or sets):
        found, gaps, caps = across.known(), across.known_gaps(), across.known_capped()
    if found is None or gaps is None:
        chosen = {"only": networks or list(across.NETWORKS), "sets": sets or list(across.SETS)}
        found, gaps = across.measure_here(only=chosen["only"], sets=chosen["sets"], use_shipped=not recompute)
        caps = across.capped_here(only=chosen["only"], use_shipped=not recompute)
    columns = ["set", "network", "estimate", "low", "high", "p", "holm", "cosine", "silenced", "elsewhere"]
    print(found.headline()[columns].to_string(index=False, float_format="%.3f"))
    print(records.source(found))
    for beside in (gaps, caps):
        if beside is not None:
            print(beside.table().to_string(index=False, float_format="%.3f"))
    if ship is not None:
        print(f"written: {found.ship(ship)}")
        print(f"written: {gaps.ship(ship.with_stem('people-gaps'))}")
        if caps is not None:
            print(f"written: {caps.ship(ship.with_stem('relu6'))}")


@record.command("people-orders")
@readable
def people_orders(
    networks: Annotated[list[str] | None, typer.Argument(help="default: all that are here")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="of judgments; default: all")] = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Predict people from a last layer's most important units, in PoZ's order and in those of pruning."""
    from rarefire import records

    across, orders = records.people_across, records.people_orders
    found = None if recompute or networks or sets else orders.known()
    if found is None:
        chosen = {"only": networks or list(across.NETWORKS), "sets": sets or list(across.SETS)}
        found = orders.measure_here(only=chosen["only"], sets=chosen["sets"], use_shipped=not recompute)
    print(found.headline().to_string(index=False, float_format="%.3f"))
    print(records.source(found))
    if ship is not None:
        print(f"written: {found.ship(ship)}")


@record.command("error-rates")
@readable
def error_rates(
    fewer: Annotated[int, typer.Option(help="divides the numbers of simulated studies", min=1)] = 1,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Simulate how often each test of the package is wrong, in several worlds. Takes an hour."""
    from rarefire import records

    found = records.error_rates.measure(fewer=fewer, use_shipped=not recompute, progress=True)
    print(found.summary().to_string(index=False, float_format="%.3f"))
    if ship is not None:
        print(f"written: {found.ship(ship)}")


@record.command()
@readable
def blocks(
    fewer: Annotated[int, typer.Option(help="divides the numbers of networks and of studies", min=1)] = 1,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Simulate which measure of layers finds planted blocks, and how often the test of blocks is wrong.

    Takes an hour of one core. The studies are written to a file of their own, with -studies after its name.
    """
    from rarefire import records

    options: dict[str, Any] = {"fewer": fewer, "jobs": jobs, "use_shipped": not recompute}
    found, studies = records.block_tests.measure(**options), records.block_tests.measure_studies(**options)
    _show(found, found.power(), ship)
    _show(studies, studies.table(), ship and ship.with_stem(f"{ship.stem}-studies"))


@record.command()
@readable
def pruned(
    setting: Annotated[str, typer.Argument(help="digits, mnist, cifar10-jpg, halves or tickets")],
    instances: Annotated[
        int | None, typer.Option(help="seeds 0, 1, … of that many networks; default: what is recorded", min=1)
    ] = None,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Prune LeNets round after round, with the controls, and compare them with what they were."""
    from rarefire import records

    seeds = None if instances is None else range(instances)
    options: dict[str, Any] = {"seeds": seeds, "jobs": jobs, "use_shipped": not recompute}
    found = records.pruned.measure(setting, **options)
    print(found.on_equal_terms().to_string(index=False, float_format="%.3f"))
    print(records.source(found))
    if found.network == "lenet5":
        records.pruned.measure_units(setting, **options)
        records.pruned.sample(setting, use_shipped=not recompute)
    if ship is not None:
        for path in records.pruned.ship(setting, ship):
            print(f"written: {path}")


@record.command()
@readable
def dimension(
    images: Images = "networks",
    instances: Networks = None,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Measure how many dimensions images span, through layers and training, against untrained networks."""
    from rarefire import records

    columns = ["instance", "epoch", "layer", "width", "two_nn", "se", "pc", "participation"]
    for _, found, path in _measured(records.dimension, images, instances, jobs, recompute, ship):
        _show(found, found.table()[columns], path)


@record.command()
@readable
def gradient(
    images: Annotated[str, typer.Argument(help="digits or mnist")],
    instances: Networks = None,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Train LeNets on images that differ most in brightness, and see where they prune it."""
    from rarefire import records

    for _, found, path in _measured(records.gradient, images, instances, jobs, recompute, ship):
        _show(found, found.table(), path)


@record.command()
@readable
def rank(
    images: Annotated[str, typer.Argument(help="digits, mnist or cifar10-jpg")],
    instances: Networks = None,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Measure the rank of LeNets around single images, and how nearly orthogonal their features are."""
    from rarefire import records

    for _, found, path in _measured(records.rank, images, instances, jobs, recompute, ship):
        _show(found, found.table(), path)


@record.command()
@readable
def information(
    images: Images = "networks",
    instances: Networks = None,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Measure what single units know of images, layer by layer, against untrained networks."""
    import pandas as pd

    from rarefire import records

    for name, found, path in _measured(records.information, images, instances, jobs, recompute, ship):
        tables = [pd.concat([found.pruning(what), found.distillation(what)]) for what in found.properties]
        _show(
            found, pd.concat(tables, keys=found.properties, names=["property"]).reset_index("property"), path
        )
        if path is not None and name in records.information.SHOWN:
            few = records.information.sample(name, use_shipped=not recompute)
            if few is not None:
                print(f"written: {few.ship(path.with_stem(f'{path.stem}-units'))}")


@record.command()
@readable
def subnetworks(
    images: Images = "networks",
    instances: Networks = None,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Measure how far apart the layers of networks are, trained in several ways and untrained.

    What a page shows of a network is written to a file of its own, with -shown after its name.
    """
    from rarefire import records

    module = records.subnetworks
    for name, found, path in _measured(
        module, images, instances, jobs, recompute, ship, of_networks={"jobs": jobs}
    ):
        whole = _together(found)
        _show(whole, whole.table(), path)
        _ship_shown(module, name, path, recompute=recompute, jobs=jobs)


@record.command("layer-choice")
@readable
def layer_choice(
    network: Annotated[
        str, typer.Argument(help="an ImageNet network; networks: those that are here")
    ] = "networks",
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Read out a layer of each group of ImageNet networks, and leave out the steps that move images least."""
    from rarefire import records

    for _, found, path in _measured(
        records.layer_choice, network, None, jobs, recompute, ship, of_networks={"jobs": jobs}
    ):
        _show(found, found.table(), path)


@record.command()
@readable
def sequences(
    setting: Annotated[str, typer.Argument(help="addition-2, addition-4 or docstrings-4")],
    instances: Annotated[
        int | None, typer.Option(help="seeds 0, 1, … of that many; default: what is recorded", min=1)
    ] = None,
    jobs: Jobs = None,
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Train small transformers on addition or docstrings, and measure how far apart their layers are.

    What a page shows of one is written to a file of its own, with -shown after its name.
    """
    from rarefire import records

    module = records.sequence_maps
    # Docstrings are those of this Python: what is recorded may be of another.
    found = {} if recompute or instances else module.known(setting)
    if not found:
        seeds = None if instances is None else range(instances)
        found = module.measure(setting, seeds=seeds, jobs=jobs, use_shipped=not recompute)
    whole = _together(found)
    _show(whole, whole.table(), ship)
    _ship_shown(module, setting, ship, recompute=recompute)


def _measured(
    module: Any,
    images: str,
    instances: int | None,
    jobs: int | None,
    recompute: bool,
    ship: Path | None,
    of_networks: Mapping[str, Any] | None = None,
) -> Iterator[tuple[str, Any, Path | None]]:
    """What a module of records measures of LeNets or networks: name, record, and where it is to be written.

    Of several networks each has a file of its own, with its name after that of the file. `of_networks` are
    options for these alone.
    """
    from rarefire import records
    from rarefire.errors import unknown

    across, sets = records.people_across, getattr(module, "SETTINGS", {})
    if not hasattr(module, "known_network") or images in sets:
        seeds = None if instances is None else range(instances)
        yield images, module.measure(images, seeds=seeds, jobs=jobs, use_shipped=not recompute), ship
        return
    if images not in ("networks", *across.NETWORKS):
        kind = "image set or network" if sets else "network"
        raise unknown(kind, images, [*sets, "networks", *across.NETWORKS])
    only = list(across.NETWORKS) if images == "networks" else [images]
    asked = {name: None if recompute else module.known_network(name) for name in only}
    found = {name: one for name, one in asked.items() if one}
    left = [name for name in only if name not in found]
    if left and (not found or any(across.ready(name) for name in left)):
        found |= module.measure_here(left, use_shipped=not recompute, **(of_networks or {}))
    for name, one in found.items():
        yield name, one, ship and (ship.with_stem(f"{ship.stem}-{name}") if images == "networks" else ship)


def _show(found: Any, table: Any, ship: Path | None) -> None:
    """A table of a record, where that is from and, where it is to be written, its file."""
    from rarefire import records

    print(table.to_string(index=False, float_format="%.3f"))
    print(records.source(found))
    if ship is not None:
        print(f"written: {found.ship(ship)}")


def _together(found: Mapping[str, Any]) -> Any:
    """The records of several ways or states as one, whose answers are written to one file."""
    each = [*found.values()]
    return type(each[0])(tuple(answer for one in each for answer in one.answers))


def _ship_shown(module: Any, name: str, ship: Path | None, *, recompute: bool, **options: Any) -> None:
    """Write what a page shows of a network beside its record, if it is to be written and is shown."""
    if ship is None or name not in module.SHOWN:
        return
    found = None if recompute else module.known_shown_record(name)
    found = found or module.shown_record(name, use_shipped=not recompute, **options)
    print(f"written: {found.ship(ship.with_stem(f'{ship.stem}-shown'))}")
