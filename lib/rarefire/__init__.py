"""What rarely firing features do in a vision network.

Modules, in the order in which data flows: :mod:`~rarefire.stimuli`, :mod:`~rarefire.networks`,
:mod:`~rarefire.training`, :mod:`~rarefire.embeddings`, :mod:`~rarefire.poz`, :mod:`~rarefire.rdm`,
:mod:`~rarefire.curves`, :mod:`~rarefire.inference`, :mod:`~rarefire.judgments`, :mod:`~rarefire.ghosts`;
what the book records with them: :mod:`~rarefire.studies`, :mod:`~rarefire.variations`,
:mod:`~rarefire.predictions`, :mod:`~rarefire.class_level`, :mod:`~rarefire.readings`; and what it shows:
:mod:`~rarefire.claims`, :mod:`~rarefire.scorecard`, :mod:`~rarefire.figures`, :mod:`~rarefire.explorer`,
:mod:`~rarefire.reader`, :mod:`~rarefire.book`.
"""

from importlib.metadata import version

__version__ = version("rarefire")
