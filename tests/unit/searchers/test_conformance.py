"""Every registered searcher passes `moga.testing.searchers`, and so do variants of ours."""

from typing import ClassVar

import numpy as np
import pytest

from moga import registry
from moga.testing.searchers import SearcherConformance

CHEAP = {
    "evolution": "evolution(population=8, sample=4)",
    "nsga2": "nsga2(population=8)",
    "portfolio": "portfolio(searchers=[nsga2(population=8), local(initial=4)], window=8)",
    "pymoo": "pymoo(population=8)",
}
"""Options with which a searcher learns within the few rounds of a test."""

IGNORANT = ("pymoo", "random")
"""Those that make no use of costs that are known without an evaluation."""

THINKING = ("auto", "bayes", "controller", "lamcts", "llr")
"""Those that fit models: their suites take minutes together, and are marked slow."""

VARIANTS = {
    "nsga2-steady": "nsga2(population=8, mode=steady)",
    "evolution-defaults": "evolution",
    "evolution-scalar": "evolution(population=8, sample=3, best=scalar)",
    "pymoo-NSGA3": "pymoo(algorithm=NSGA3, population=8)",
    "pymoo-MOEAD": "pymoo(algorithm=MOEAD, population=8, limits=penalty)",
}


LARGE = ("evolution-defaults",)
"""Those whose first population has more than 50 genomes."""


class Conformance(SearcherConformance):
    text: ClassVar[str]

    @pytest.fixture(autouse=True)
    def numpy_is_strict(self):
        with np.errstate(invalid="raise", divide="raise"):
            yield

    def make(self, problem, rng):
        return registry.create("searcher", self.text, problem=problem, rng=rng)


def suite(name: str, text: str) -> type[Conformance]:
    title = "".join(part.capitalize() for part in name.replace("-", "_").split("_"))
    uses = name.partition("-")[0] not in IGNORANT
    attributes = {
        "text": text,
        "uses_known": uses,
        **({"work_rounds": 24} if name in LARGE else {}),
    }
    return type(f"Test{title}", (Conformance,), attributes)


for _name, _text in {n: CHEAP.get(n, n) for n in registry.names("searcher")}.items():
    _class = suite(_name, _text)
    globals()[_class.__name__] = pytest.mark.slow(_class) if _name in THINKING else _class
for _name, _text in VARIANTS.items():
    _class = suite(_name, _text)
    globals()[_class.__name__] = pytest.mark.slow(_class)
