import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from moga.contracts import (
    METRICS,
    Gene,
    Objective,
    Observations,
    Problem,
    Silent,
    costs_of,
    parse_constraint,
    parse_objective,
    violations_of,
)
from moga.errors import InvalidObjective, UnknownName


def test_a_gene_needs_values_and_factors_that_multiply() -> None:
    gene = Gene("g", "stage", "categorical", tuple("abcdef"), (2, 3))
    assert len(gene) == 6
    with pytest.raises(ValueError, match="gene 'g' has no values"):
        Gene("g", "stage", "ordinal", ())
    with pytest.raises(ValueError, match=r"factors \(2, 2\) do not multiply to its 6 values"):
        dataclasses.replace(gene, factors=(2, 2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy", Objective("accuracy", "max")),
        ("latency", Objective("latency", "min")),
        ("params", Objective("params", "min")),
        ("macs", Objective("macs", "min")),
        ("params:max*.2", Objective("params", "max", 0.2)),
        ("accuracy * 0.4", Objective("accuracy", "max", 0.4)),
        ("latency<=12", Objective("latency", "min", upper=12)),
        ("latency<8", Objective("latency", "min", upper=math.nextafter(8, 0))),
        ("accuracy>70", Objective("accuracy", "max", lower=math.nextafter(70, 99))),
        ("accuracy>=70.5", Objective("accuracy", "max", lower=70.5)),
        ("macs*2<=3e8>=1e8", Objective("macs", "min", 2.0, 1e8, 3e8)),
        ("latency@v100:min", Objective("latency", "min", device="v100")),
        (
            "latency@cpu(threads=2)<=3",
            Objective("latency", "min", upper=3, device="cpu(threads=2)"),
        ),
    ],
)
def test_parse_objective_and_back(text: str, expected: Objective) -> None:
    assert parse_objective(text) == expected
    assert parse_objective(str(expected)) == expected


def test_the_text_of_an_objective_keeps_every_digit() -> None:
    objective = Objective("latency", "min", weight=1 / 3, upper=12.3456789012)
    assert parse_objective(str(objective)) == objective
    assert str(parse_objective("latency<8>2")) == "latency<8.0>2.0"
    assert str(parse_constraint("0.4<latency<=8")) == "0.4<latency<=8.0"
    assert str(Objective("params", "max", 0.2, upper=3e8)) == "params:max*0.2<=300000000.0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy*", "cannot read objective 'accuracy*'; expected metric"),
        ("", "cannot read objective ''"),
        ("latency=12", "cannot read objective 'latency=12'"),
        ("latency<=1<=2", "objective 'latency<=1<=2' gives the same limit twice"),
        ("latency:up", "objective 'latency:up': direction 'up' is neither min nor max"),
        ("latency*-.4", "weight of latency is -0.4; give 0 or more"),
        ("latency<=1>=2", "limits of latency: nothing lies between 2.0 and 1.0"),
    ],
)
def test_parse_objective_refuses(text: str, message: str) -> None:
    with pytest.raises(InvalidObjective) as caught:
        parse_objective(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("parse", [parse_objective, lambda text: parse_constraint(f"{text}<=1")])
def test_an_unknown_metric_lists_near_names(parse: Any) -> None:
    with pytest.raises(UnknownName, match=r"unknown metric 'latenzy'\. Did you mean 'latency'"):
        parse("latenzy")


@pytest.mark.parametrize(
    ("text", "lower", "upper", "device"),
    [
        ("macs<=3e8", -math.inf, 3e8, ""),
        ("macs>=3e8", 3e8, math.inf, ""),
        ("macs<3", -math.inf, math.nextafter(3, 0), ""),
        ("macs>3", math.nextafter(3, 4), math.inf, ""),
        ("0.4<=latency@v100<0.65", 0.4, math.nextafter(0.65, 0), "v100"),
        ("0.4 < latency <= 0.65", math.nextafter(0.4, 1), 0.65, ""),
        ("1<=macs>=3", 3, math.inf, ""),
    ],
)
def test_parse_constraint(text: str, lower: float, upper: float, device: str) -> None:
    limit = parse_constraint(text)
    assert (limit.lower, limit.upper, limit.device) == (lower, upper, device)
    assert not limit.optimised
    assert parse_constraint(str(limit)) == limit


@pytest.mark.parametrize("text", ["macs", "macs=3", "3<=", "<=3"])
def test_parse_constraint_refuses(text: str) -> None:
    with pytest.raises(InvalidObjective, match=r"cannot read constraint .* expected macs<=3e8"):
        parse_constraint(text)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": "Speed!"}, InvalidObjective, "the metric is 'Speed!'; give small letters"),
        ({"direction": "up"}, InvalidObjective, "direction of macs: 'up', not min or max"),
        ({"weight": -1.0}, InvalidObjective, "weight of macs is -1.0; give 0 or more"),
        ({"weight": math.nan}, InvalidObjective, "weight of macs is nan; give 0 or more"),
        ({"weight": True}, InvalidObjective, "weight of macs is True; give 0 or more"),
        ({"upper": True}, InvalidObjective, "a limit of macs is True; give a number"),
        ({"lower": "1"}, InvalidObjective, "a limit of macs is '1'; give a number"),
        ({"lower": math.nan}, InvalidObjective, "limits of macs: nothing lies between nan"),
        ({"lower": 2.0, "upper": 1.0}, InvalidObjective, "nothing lies between 2.0 and 1.0"),
    ],
)
def test_an_objective_checks_itself(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Objective(**{"metric": "macs", "direction": "min", **arguments})


def test_objective_properties() -> None:
    objective = parse_objective("latency@v100<=2")
    assert (objective.name, objective.unit, objective.sign) == ("latency@v100", "ms", 1)
    assert parse_objective("params:max").sign == -1
    assert all(metric.direction in ("min", "max") for metric in METRICS.values())


def test_violation_is_the_distance_from_the_limits_and_nan_stays() -> None:
    limit = Objective("latency", "min", lower=1, upper=2)
    got = limit.violation(np.array([0.5, 1.0, 1.5, 2.0, 4.0, np.nan]))
    np.testing.assert_array_equal(got, [0.5, 0, 0, 0, 2, np.nan])


def test_costs_of_turns_signs_and_leaves_the_unknown_nan() -> None:
    objectives = [parse_objective("accuracy"), parse_objective("latency")]
    costs = costs_of({"accuracy": np.array([70.0, 80.0])}, objectives, 2)
    np.testing.assert_array_equal(costs, [[-70, np.nan], [-80, np.nan]])
    assert costs_of({}, [], 3).shape == (3, 0)


def test_violations_of_are_relative_and_add_up() -> None:
    objectives = [parse_objective("latency<=2"), parse_objective("accuracy>=80")]
    values = {"latency": np.array([1.0, 3.0, np.nan]), "accuracy": np.array([80.0, 40.0, 60.0])}
    np.testing.assert_allclose(violations_of(values, objectives, 3), [0, 0.5 + 0.5, 0.25])
    np.testing.assert_array_equal(violations_of({}, objectives, 3), [0, 0, 0])


def test_violations_of_a_limit_of_zero_are_absolute() -> None:
    limit = Objective("latency", "min", upper=0)
    np.testing.assert_array_equal(violations_of({"latency": np.array([3.0])}, [limit], 1), [3])


def test_a_problem_gives_sizes_and_weights() -> None:
    genes = (Gene("a", "g", "ordinal", (1, 2, 3)), Gene("b", "g", "ordinal", (1,)))
    problem = Problem(
        genes,
        (0, 0),
        (parse_objective("latency*.5"), parse_objective("accuracy")),
        canonical=lambda genomes: genomes,
        known=lambda genomes: np.full((len(genomes), 2), np.nan),
    )
    assert problem.sizes.tolist() == [3, 1]
    assert problem.weights.tolist() == [0.5, 1.0]


def test_observations_tell_failed_and_usable_rows() -> None:
    exact = Observations.exact(np.zeros((4, 3), dtype=np.int64), np.ones((4, 2)))
    assert len(exact) == 4
    assert exact.usable.all()
    observations = dataclasses.replace(
        exact,
        costs=np.array([[1, 1], [np.nan, 1], [1, 1], [1, 1]]),
        bounded=np.array([False, False, True, False]),
        violations=np.array([0, 0, 0, 0.1]),
    )
    assert observations.failed.tolist() == [False, True, False, False]
    assert observations.usable.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("field", "shape", "message"),
    [
        ("genomes", (4,), r"genomes has shape \(4,\), expected \(4, 4\)"),
        ("costs", (3, 2), r"costs has shape \(3, 2\), expected \(4, 2\)"),
        ("violations", (4, 1), r"violations has shape \(4, 1\), expected \(4,\)"),
        ("spread", (4, 3), r"spread has shape \(4, 3\), expected \(4, 2\)"),
        ("bounded", (3,), r"bounded has shape \(3,\), expected \(4,\)"),
        ("fidelity", (5,), r"fidelity has shape \(5,\), expected \(4,\)"),
    ],
)
def test_observations_refuse_shapes_that_disagree(
    field: str, shape: tuple[int, ...], message: str
) -> None:
    exact = Observations.exact(np.zeros((4, 3), dtype=np.int64), np.ones((4, 2)))
    with pytest.raises(ValueError, match=f"observations: {message}"):
        dataclasses.replace(exact, **{field: np.zeros(shape)})


def test_silent_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Silent()
    progress.phase("train", 3)
    progress.advance(1, loss=2.0)
    progress.note("text")
    assert capsys.readouterr() == ("", "")


def test_infinite_costs_have_failed_like_unknown_ones() -> None:
    costs = np.array([[1.0, 2.0], [np.nan, 2.0], [np.inf, 2.0], [1.0, -np.inf]])
    told = Observations.exact(np.zeros((4, 1), dtype=np.int64), costs)
    assert told.failed.tolist() == [False, True, True, True]
    assert told.usable.tolist() == [True, False, False, False]


def test_an_evaluator_s_own_metrics_need_a_direction() -> None:
    energy = parse_objective("energy_mj:max*.5<=3", ["energy_mj"])
    assert energy == Objective("energy_mj", "max", 0.5, upper=3)
    assert parse_objective(str(energy), ["energy_mj"]) == energy
    assert str(Objective("energy_mj", "min")) == "energy_mj:min"
    assert energy.unit == ""
    limit = parse_constraint("1<=energy_mj<=3", ["energy_mj"])
    assert (limit.lower, limit.upper, limit.optimised) == (1, 3, False)
    words = "energy_mj is the evaluator's own metric, .* give energy_mj:min or energy_mj:max"
    with pytest.raises(InvalidObjective, match=words):
        parse_objective("energy_mj", ["energy_mj"])
    for parse, text in ((parse_objective, "energi_mj:min"), (parse_constraint, "energi_mj<=3")):
        with pytest.raises(UnknownName, match=r"unknown metric 'energi_mj'\. .* 'energy_mj'"):
            parse(text, ["energy_mj"])
