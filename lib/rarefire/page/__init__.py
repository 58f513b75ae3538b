"""How the book is drawn, written and built.

``palette``, ``plots``
    Colours and names; arrays as panels.
``frame``, ``cards``
    Panels, pictures and tables as figures of the page; the paper's claims as cards.
``widgets``, ``explorer``, ``reader``, ``prunings``, ``layers``, ``pairs``, ``arcade``
    What moves in a page without a kernel: the pruning explorer, the ghost reader, pruning compared, a network
    layer by layer, its layers pair by pair, simulated studies judged by two tests.
``claims``, ``scorecard``
    What the paper says, and what was found.
``pruned_tables``, ``dimensions``, ``dimension_findings``, ``layer_groups``, ``subnetwork_findings``
    What chapters 6 to 8 show and say of what was recorded.
``build``, ``static_page``
    The chapters executed and made into pages; what Sphinx is told.
"""

from rarefire._engine.lazy import submodules

_MODULES = (
    *("arcade", "build", "cards", "claims", "dimension_findings", "dimensions", "explorer", "frame"),
    *("layer_groups", "layers", "pairs", "palette", "plots", "pruned_tables", "prunings", "reader"),
    *("scorecard", "static_page", "subnetwork_findings", "widgets"),
)
__all__ = [*_MODULES]
__getattr__, __dir__ = submodules(__name__, _MODULES)
