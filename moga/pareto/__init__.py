"""What is best when there are several objectives.

- `dominance`: non-dominated sets, ranks and hypervolume, over moocore
- `archive`: the exact results of a run, and their front
- `choose`: a few members of a front: at equal distance, under budgets, the knee
"""

from moga.pareto.archive import Archive
from moga.pareto.choose import equal_distance, knee, under_budgets
from moga.pareto.dominance import hypervolume, nondominated, nondominated_ranks

__all__ = [
    "Archive",
    "equal_distance",
    "hypervolume",
    "knee",
    "nondominated",
    "nondominated_ranks",
    "under_budgets",
]
