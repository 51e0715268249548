import numpy as np
import pytest

from moga.errors import InvalidGenome, UsageError
from moga.searchers.arguments import check_genomes, check_integer, check_number, check_word
from moga.testing.searchers import make_problem

PROBLEM = make_problem((3, 2))


@pytest.mark.parametrize("value", [2, 5, np.int64(3)])
def test_integers_in_range_pass(value) -> None:
    check_integer("n", value, 2, 5)


@pytest.mark.parametrize("value", [1, 6, True, 2.0, "3", None])
def test_other_integers_are_refused(value) -> None:
    with pytest.raises(UsageError, match=rf"n is {value!r}; give an integer from 2 to 5$"):
        check_integer("n", value, 2, 5)


def test_an_open_range_of_integers_is_said() -> None:
    with pytest.raises(UsageError, match="n is 0; give an integer of 1 or more"):
        check_integer("n", 0)


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "words"),
    [
        ({"least": 0, "most": 1}, 1, 1.1, "from 0 to 1"),
        ({"least": 0, "most": 1, "ends": False}, 0.5, 1, "between 0 and 1"),
        ({"least": 0}, 0, -0.1, "of 0 or more"),
        ({"least": 0, "ends": False}, 1e-9, 0, "above 0"),
        ({"most": 0}, 0.0, 0.1, "of 0 or less"),
    ],
)
def test_numbers(bounds, good, bad, words) -> None:
    check_number("x", good, **bounds)
    for wrong in (bad, float("nan"), float("inf"), -float("inf"), "1", None, True):
        with pytest.raises(UsageError, match=rf"x is {wrong!r}; give a number {words}$"):
            check_number("x", wrong, **bounds)


def test_words() -> None:
    check_word("mode", "b", ("a", "b", "c"))
    for wrong in ("d", 3, ["a"]):
        with pytest.raises(UsageError, match=r"; give 'a', 'b' or 'c'$"):
            check_word("mode", wrong, ("a", "b", "c"))


def test_genomes_that_are_some() -> None:
    assert check_genomes("it", [[2, 1]], PROBLEM).dtype == np.int64
    assert check_genomes("it", [], PROBLEM).shape == (0, 2)
    assert check_genomes("it", np.empty((0, 2), dtype=np.int64), PROBLEM).shape == (0, 2)


@pytest.mark.parametrize(
    ("genomes", "words"),
    [
        ([[1.7, 0]], r"it holds genomes of shape \(1, 2\) and type float64; give integers"),
        ([1, 0], r"shape \(2,\) and type int64; give integers of shape \(n, 2\)"),
        ([[1, 0, 0]], r"shape \(1, 3\)"),
        (None, r"shape \(\) and type object"),
        ([[0, 0], [0, 2]], "genome 1 of it has 2 for gene 'g1'; allowed: 0 to 1"),
        ([[-1, 0]], "genome 0 of it has -1 for gene 'g0'; allowed: 0 to 2"),
    ],
)
def test_genomes_that_are_none(genomes, words) -> None:
    with pytest.raises(InvalidGenome, match=words):
        check_genomes("it", genomes, PROBLEM)
