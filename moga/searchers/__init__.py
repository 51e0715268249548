"""Searchers: they ask for genomes and are told what became of them.

- `base`: the bookkeeping that all share
- `auto`: for those who do not want to choose: `bayes` while results are few, then `local`
- `bayes`: models only what must be evaluated (`gaussian`), and takes known costs at their word
  (`improvement`)
- `lamcts`: a tree of regions and BoTorch's Gaussian processes; loads them when first needed
- `nsga2`: NSGA-II with weighted crowding (`crowding`) and hierarchical mutation (`mutation`)
- `preselection`: the choice among more children than are offered, by known costs
- `local`: mutates members of the front, a strong baseline
- `evolution`: regularised evolution
- `pymoo`: any of pymoo's algorithms; the only place that loads pymoo
- `portfolio`: several searchers over one archive
- `llr`: GENet's local linear regression, on `superblocks`, which `combine` puts together
- `controller`: MnasNet's and EfficientNet-X's LSTM policy; loads torch when it is first made
- `random`: the baseline

`moga.testing.searchers` is the suite that each passes.
"""

from moga.searchers.auto import Auto
from moga.searchers.base import BaseSearcher
from moga.searchers.bayes import Bayes
from moga.searchers.controller import Controller
from moga.searchers.evolution import RegularizedEvolution
from moga.searchers.lamcts import LAMCTS
from moga.searchers.llr import LLR
from moga.searchers.local import LocalSearch
from moga.searchers.nsga2 import NSGA2
from moga.searchers.portfolio import Portfolio
from moga.searchers.pymoo import Pymoo
from moga.searchers.random import RandomSearch

__all__ = [
    "LAMCTS",
    "LLR",
    "NSGA2",
    "Auto",
    "BaseSearcher",
    "Bayes",
    "Controller",
    "LocalSearch",
    "Portfolio",
    "Pymoo",
    "RandomSearch",
    "RegularizedEvolution",
]
