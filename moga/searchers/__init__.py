"""Searchers: they ask for genomes and are told what became of them.

- `base`: the bookkeeping that all share
- `nsga2`: NSGA-II with weighted crowding (`crowding`) and hierarchical mutation (`mutation`)
- `random`: the baseline

pymoo is loaded when NSGA-II first needs it, not before.
"""

from moga.searchers.base import BaseSearcher
from moga.searchers.nsga2 import NSGA2
from moga.searchers.random import RandomSearch

__all__ = ["NSGA2", "BaseSearcher", "RandomSearch"]
