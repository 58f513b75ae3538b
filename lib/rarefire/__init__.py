"""What rarely firing features do in a vision network.

``import rarefire`` imports nothing heavy: each module is there when it is asked for.

Your images, your network, their embedding
    :mod:`~rarefire.stimuli` loads image sets by name or from a folder, :mod:`~rarefire.networks` builds
    networks, :mod:`~rarefire.training` trains ensembles, :mod:`~rarefire.embeddings` gives the features of a
    layer, ``(n_images, n_features)``, and opens those on disk; :mod:`~rarefire.relus` finds every ReLU of a
    network and counts how silent it is, :mod:`~rarefire.steps` the layers that come one after the other.
    :mod:`~rarefire.sequences` has no images: a transformer that adds or reads text.
How rarely features fire, and what slices of them carry
    :mod:`~rarefire.poz` counts and orders; :mod:`~rarefire.rdm` compares images; :mod:`~rarefire.curves`
    gives exact nested curves, for the network's own geometry or against an RDM of people;
    :mod:`~rarefire.cluster` the same with Dask. :mod:`~rarefire.units` counts how often single units fire in
    windows of images, and what they know of classes or of what :mod:`~rarefire.lowlevel` measures in images;
    :mod:`~rarefire.dimension` says how many dimensions images span in a layer;
    :mod:`~rarefire.similarity` compares two networks' layers, :mod:`~rarefire.transport` any two layers by
    Gromov–Wasserstein, :mod:`~rarefire.subnetworks` finds groups of layers and tests them.
Networks with less in them
    :mod:`~rarefire.removal` says how important units are and slices them out; :mod:`~rarefire.pruning` masks
    weights and trains again, with controls.
What never fires for a category
    :mod:`~rarefire.ghosts` finds ghost features and reads them, :mod:`~rarefire.retrieval` searches by them.
People
    :mod:`~rarefire.judgments` loads public judgments, :mod:`~rarefire.ratings` your own;
    :mod:`~rarefire.multiarrange` makes RDMs of arrangements;
    :mod:`~rarefire.reliability` says how far people agree; :mod:`~rarefire.triplets` is about answers to
    *which of two looks more like a third*.
Whether it is more than chance
    :mod:`~rarefire.inference` tests a number of features or a whole curve, :mod:`~rarefire.selection`
    chooses it on other images, :mod:`~rarefire.reweighting` weighs features; :mod:`~rarefire.naive` holds the
    tests not to use, :mod:`~rarefire.simulations` worlds in which the truth is known.
Files of your own
    :mod:`~rarefire.files` reads arrays of every kind, :mod:`~rarefire.labels` categories,
    :mod:`~rarefire.columns` says which column of a table is what, :mod:`~rarefire.choices` holds odd-one-out
    trials; :mod:`~rarefire.names` finds out which image is which, :mod:`~rarefire.texts` what a text says.
Rooms
    :mod:`~rarefire.records`, what the book keeps; :mod:`~rarefire.page`, how it is drawn and built, the
    explorer (:mod:`rarefire.page.explorer`) among it; :mod:`~rarefire.cli`, the commands. ``_engine`` is
    what no user needs to open.

A quick start: ``curves.geometry_curve(E, poz.order(poz.poz(E)))`` is the whole curve of an embedding ``E``.
"""

from importlib.metadata import version

from rarefire._engine.lazy import submodules

_MODULES = (
    *("choices", "cli", "cluster", "columns", "curves", "dimension", "embeddings", "errors", "files"),
    *("ghosts", "inference", "judgments", "labels", "lowlevel", "multiarrange", "naive", "names", "networks"),
    *("page", "poz", "pruning", "ratings", "rdm", "records", "reliability", "relus", "removal", "retrieval"),
    *("reweighting", "rounding", "selection", "sequences", "similarity", "simulations", "steps", "stimuli"),
    *("store", "subnetworks"),
    *("texts", "training", "transport", "triplets", "units"),
)

__version__ = version("rarefire")
__all__ = [*_MODULES, "__version__"]
__getattr__, __dir__ = submodules(__name__, _MODULES)
