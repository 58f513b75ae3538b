"""What rarely firing features do in a vision network.

Modules, in the order in which data flows: :mod:`~rarefire.stimuli`, :mod:`~rarefire.networks`,
:mod:`~rarefire.training`, :mod:`~rarefire.embeddings`, :mod:`~rarefire.poz`, :mod:`~rarefire.rdm`,
:mod:`~rarefire.curves`, :mod:`~rarefire.studies`, :mod:`~rarefire.claims`,
:mod:`~rarefire.figures`, :mod:`~rarefire.book`.
"""
