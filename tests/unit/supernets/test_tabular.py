import pickle

import numpy as np
import pytest

from moga.contracts import Evaluator, Measured
from moga.errors import NotInSpace, UsageError
from moga.registry import create
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import DATA, NASBench201
from moga.spaces.subspace import Subspace
from moga.supernets.tabular import TabularEvaluator


@pytest.mark.parametrize("data", DATA)
def test_the_search_sees_validation_accuracy_and_the_report_test_accuracy(data: str) -> None:
    space = NASBench201(data)
    evaluator = TabularEvaluator(space)
    genomes = np.random.default_rng(0).integers(0, 5, (30, 6))
    networks = [space.decode(genome) for genome in genomes]
    rows = space.index(genomes)
    expected = [Measured({"accuracy": value}) for value in space.accuracy("valid")[rows]]
    assert evaluator.evaluate(networks) == expected
    np.testing.assert_array_equal(evaluator.test_accuracy(networks), space.accuracy("test")[rows])
    assert (space.accuracy("test")[rows] != space.accuracy("valid")[rows]).any()


def test_it_is_an_evaluator_and_found_by_name() -> None:
    evaluator = create("evaluator", "tabular", space=NASBench201())
    assert isinstance(evaluator, Evaluator)
    assert evaluator.metrics == ("accuracy",)


def test_it_travels_small() -> None:
    space = NASBench201("cifar100")
    evaluator = TabularEvaluator(space)
    network = space.decode((3,) * 6)
    before = evaluator.evaluate([network])
    text = pickle.dumps(evaluator)
    assert len(text) < 500
    assert pickle.loads(text).evaluate([network]) == before


def test_no_networks_give_no_outcomes() -> None:
    evaluator = TabularEvaluator(NASBench201())
    assert evaluator.evaluate([]) == []
    assert evaluator.test_accuracy([]).shape == (0,)


def test_networks_and_spaces_of_another_kind_are_refused() -> None:
    evaluator = TabularEvaluator(NASBench201())
    with pytest.raises(NotInSpace, match="block 0 of the network does not fit"):
        evaluator.evaluate([MoGASpace().decode([0] * 14)])
    message = (
        r"the table has accuracies of the space nasbench201; the space is moga\(.*\)\. "
        "Accuracies of moga come from evaluator='supernet'"
    )
    with pytest.raises(UsageError, match=message):
        TabularEvaluator(MoGASpace())


def test_a_part_of_the_space_has_the_same_accuracies() -> None:
    whole = NASBench201("cifar100")
    part = Subspace(whole, {"edge_0_1": "skip", "edge_2_3": "none"})
    networks = [part.decode([value] * 4) for value in range(5)]
    expected = TabularEvaluator(whole).evaluate(networks)
    assert TabularEvaluator(part).evaluate(networks) == expected
