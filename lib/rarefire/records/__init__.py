"""What the book keeps: every answer is recorded, cached or computed, by one mechanism (:mod:`.record`).

Each module asks one question; its ``measure`` computes what is not there, its ``known`` finds what is.

``ensembles``
    Networks of one kind, trained from different seeds: accuracy, PoZ, nested curves.
``recipes``
    LeNet-5 trained in other ways.
``people``, ``people_across``, ``people_by_class``
    People predicted by slices of a network's features; the same for several networks and sets, with the
    controls; classes that people confuse, beside LeNets.
``people_orders``
    Which order of the units predicts people best with few of them: PoZ beside those of pruning.
``ghosts``, ``ghosts_by_class``
    Ghost features of photographs, read on a gallery; of every class of an ensemble.
``pruned``
    LeNets pruned round after round, with the controls, and their single units.
``dimension``
    How many dimensions images span, through layers and through training.
``gradient``, ``rank``
    The same where images differ most in what networks must ignore, their brightness; rank around single
    images, and how nearly orthogonal features are.
``information``
    What single units know of images, trained and untrained.
``subnetworks``, ``layer_choice``
    How far apart the layers of networks are, trained in several ways and untrained; what groups of layers are
    good for.
``sequence_maps``
    The same of small transformers, on an algebraic and on a language task.
``error_rates``
    How often each test is wrong.
``report``
    A network of one's own, or an embedding, measured whole.
``block_tests``
    Which measure of layers finds planted blocks, and how often the test of blocks is wrong.
"""

from rarefire._engine.lazy import submodules
from rarefire.records.record import Record, Stack, answer_each, source

_MODULES = (
    *("block_tests", "dimension", "ensembles", "error_rates", "ghosts", "ghosts_by_class", "gradient"),
    *("information", "layer_choice", "people", "people_across", "people_by_class", "people_orders"),
    *("pruned", "rank", "recipes", "record", "report", "sequence_maps", "subnetworks"),
)
__all__ = [*_MODULES, "Record", "Stack", "answer_each", "source"]
__getattr__, __dir__ = submodules(__name__, _MODULES)
