"""How the book is drawn, written and built.

``palette``, ``plots``
    Colours and names; arrays as panels.
``frame``, ``cards``
    Panels, pictures and tables as figures of the page; the paper's claims as cards.
``scenes``, ``widgets``, ``explorer``, ``reader``, ``prunings``, ``layers``, ``pairs``
    What moves in a page without a kernel: image sets and single features of theirs, the pruning explorer, the
    ghost reader, pruning compared, a network layer by layer, its layers pair by pair.
``subject``, ``dying``, ``arcade``
    The reader as the subject; a network that is trained in the page; simulated studies judged by two tests.
``try_yours``
    A reader's own embedding, measured in the page itself.
``claims``, ``scorecard``
    What the paper says, and what was found.
``pruned_tables``, ``dimensions``, ``dimension_findings``, ``layer_groups``, ``subnetwork_findings``
    What chapters 6 to 8 show and say of what was recorded.
``report``
    A network of one's own, or an embedding, as one page.
``build``, ``static_page``
    The chapters executed and made into pages; what Sphinx is told.
``reference``, ``reference_links``
    Pages of all public names and commands; the links from chapters and figures into them.
``glossary_links``, ``rerun``
    The first mention of each term, linked to its definition; how to run a page again.
"""

from rarefire._engine.lazy import submodules

_MODULES = (
    *("arcade", "build", "cards", "claims", "dimension_findings", "dimensions", "dying", "explorer", "frame"),
    *("glossary_links", "layer_groups", "layers", "pairs", "palette", "plots", "pruned_tables", "prunings"),
    *("reader", "reference", "reference_links", "report", "rerun", "scenes", "scorecard", "static_page"),
    "subject",
    *("subnetwork_findings", "try_yours", "widgets"),
)
__all__ = [*_MODULES]
__getattr__, __dir__ = submodules(__name__, _MODULES)
