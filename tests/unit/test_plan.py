"""Names become objects, and what does not fit is refused before work starts."""

import dataclasses
import re

import numpy as np
import pytest

from moga.contracts import Objective, Silent
from moga.devices.table import TableDevice, TableSource
from moga.errors import FormatError, InvalidObjective, UnknownName, UsageError
from moga.plan import Plan
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeDevice
from moga.testing.fakes import TableEvaluator


def test_names_become_objects() -> None:
    plan = Plan.make("nasbench201(data=cifar100)", "pixel3", ["accuracy", "latency<=20"])
    assert plan.space.spec == "nasbench201(data='cifar100')"
    assert [device.name for device in plan.devices] == ["pixel3"]
    assert plan.objectives[1] == Objective("latency", "min", upper=20)
    assert plan.evaluator == "tabular"


def test_spaces_own_objectives_are_the_default() -> None:
    plan = Plan.make("moga(resolution=32, num_classes=10)", "cpu", None)
    assert [str(o) for o in plan.objectives] == ["accuracy*0.4", "latency*0.4", "params:max*0.2"]


def test_without_objectives_latency_counts_on_each_device() -> None:
    plan = Plan.make("nasbench201", ["pixel3", "raspi4"], None)
    assert [str(o) for o in plan.objectives[1:]] == ["latency@pixel3", "latency@raspi4"]
    plan = Plan.make("moga", ["t4", "v100"], None)
    assert [str(o) for o in plan.objectives] == [
        "accuracy*0.4",
        "latency@t4*0.2",
        "latency@v100*0.2",
        "params:max*0.2",
    ]


def test_a_device_with_options_is_named_in_objectives_and_limits() -> None:
    devices = ["t4(batch=64, precision=int8)", "v100(batch=64)"]
    wanted = ["accuracy", "latency@t4(precision=int8,batch=64)<=20", "params"]
    limits = ["latency@v100(batch=64)<=30"]
    plan = Plan.make("moga", devices, wanted, constraints=limits)
    assert plan.objectives[1].device == plan.devices[0].name == "t4(precision=int8, batch=64)"
    assert plan.constraints[0].device == plan.devices[1].name
    again = [str(objective) for objective in plan.objectives]
    assert Plan.make("moga", devices, again, constraints=limits).objectives == plan.objectives


def test_the_space_follows_the_images() -> None:
    plan = Plan.make("moga", "cpu", None)
    assert (plan.space.resolution, plan.space.num_classes) == (32, 10)


def test_images_that_nothing_looks_at_decide_nothing() -> None:
    space = "fbnet(resolution=32, num_classes=1000)"
    plan = Plan.make(space, "pixel2", ["latency", "macs:max"])
    assert (plan.space.num_classes, plan.images) == (1000, None)
    message = r"has num_classes=1000, the images \(bundled photographs\) have 10; leave num_classes"
    with pytest.raises(UsageError, match=message):
        Plan.make(space, "pixel2", ["accuracy", "latency"])
    with pytest.raises(UsageError, match=message):
        Plan.make(space, "pixel2", ["latency"], constraints=["accuracy>=50"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("mogga", "cpu", None), UnknownName, "unknown space 'mogga'. Did you mean 'moga'"),
        (("nasbench201", "pixel4", None), UnknownName, "unknown device 'pixel4'. Did you mean"),
        (("nasbench201", "pixel3", ["acuracy"]), UnknownName, "Did you mean 'accuracy'"),
        (("nasbench201", "pixel3", []), InvalidObjective, "at least one objective"),
        (("nasbench201", "pixel3", ["latency", "latency"]), InvalidObjective, "may stand once"),
        (("nasbench201", "pixel3", ["latency*0"]), InvalidObjective, "all weights are 0"),
        (
            ("nasbench201", "pixel3", ["accuracy*.5", "latency*.9"]),
            InvalidObjective,
            "the weights 0.5 + 0.9 sum to 1.4 (an objective without one has 1); give all of them, "
            "with the sum 1, or none, for equal ones. These would be accuracy*0.357, latency*0.643",
        ),
        (("nasbench201", "pixel3", ["accuracy*1", "latency*1"]), InvalidObjective, "sum to 2 (an"),
        (("nasbench201", "pixel3", ["accuracy*1", "latency"]), InvalidObjective, "sum to 2 (an"),
        (("nasbench201", "pixel3", ["accuracy*.4", "latency"]), InvalidObjective, "sum to 1.4"),
        (
            ("nasbench201", ["pixel3", "pixel2"], ["latency"]),
            InvalidObjective,
            "latency of which device? Say latency@NAME, with one of pixel3, pixel2",
        ),
        (("nasbench201", "pixel3", ["latency@v100"]), InvalidObjective, "the devices are pixel3"),
        (("nasbench201", "pixel3", ["accuracy@pixel3"]), InvalidObjective, "does not depend on a"),
        (("nasbench201", ["pixel3", "pixel3"], None), UsageError, "each once"),
        (("moga(resolution=64)", "cpu", None), UsageError, "resolution=64, the images"),
        (("moga(depth=3)", "cpu", None), UsageError, "takes no depth"),
        ((5, "cpu", None), UsageError, 'the space is 5; give a name such as "moga", or a Space'),
        (("nasbench201", 5, None), UsageError, "the device is 5; give a name such as 'cpu', or an"),
        (
            ("nasbench201", "pixel3", "accuracy, latency<=3"),
            InvalidObjective,
            'objectives is one text, not a list; give objectives=["accuracy", "latency<=3"]',
        ),
    ],
)
def test_what_does_not_fit(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Plan.make(*arguments)


@pytest.mark.parametrize(
    ("objectives", "limit", "cure"),
    [
        (["accuracy", "latency"], "latency<=3", "latency<=3.0"),
        (["accuracy", "latency"], "accuracy>=60", "accuracy>=60.0"),
        (["accuracy*.4<=90", "latency*.6"], "2<=accuracy", "accuracy*0.4<=90.0>=2.0"),
        (["params:max", "latency"], "params<=3e6", "params:max<=3000000.0"),
    ],
)
def test_limit_of_an_objective_as_constraint(objectives: list[str], limit: str, cure: str) -> None:
    message = f"is an objective and a constraint; write the limit into the objective: {cure}"
    with pytest.raises(InvalidObjective, match=re.escape(message) + "$"):
        Plan.make("nasbench201", "pixel3", objectives, constraints=[limit])
    goals = [cure if cure.startswith(text.partition("*")[0]) else text for text in objectives]
    assert Plan.make("nasbench201", "pixel3", goals).objectives


def test_a_limit_alone_is_no_list_of_limits() -> None:
    with pytest.raises(InvalidObjective, match=re.escape('give constraints=["macs<=3e8"]')):
        Plan.make("nasbench201", "pixel3", None, constraints="macs<=3e8")


def test_data_for_a_space_with_its_own() -> None:
    with pytest.raises(UsageError, match="brings its own data"):
        Plan.make("nasbench201", "pixel3", None, data="photos")


def test_unknown_evaluator() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'supernet'"):
        Plan.make("moga", "cpu", None, evaluator="supernett")
    with pytest.raises(UsageError, match=r"the evaluator is 5; .* what moga's Evaluator has"):
        Plan.make("nasbench201", "pixel3", None, evaluator=5)


def test_several_devices() -> None:
    plan = Plan.make(
        "nasbench201", ["pixel3", "pixel2"], ["accuracy", "latency@pixel3", "latency@pixel2"]
    )
    assert plan.table_names == ("params", "macs", "latency@pixel3", "latency@pixel2")


def test_tables_are_saved_and_loaded(tmp_path) -> None:
    plan = Plan.make("nasbench201", "pixel3", None)
    first = plan.build_tables(tmp_path / "tables", Silent())
    again = plan.build_tables(tmp_path / "tables", Silent())
    genomes = np.array([[0, 1, 2, 3, 4, 0], [3, 3, 3, 3, 3, 3]])
    for name, values in first.values(genomes).items():
        np.testing.assert_array_equal(values, again.values(genomes)[name])
    worst, best = first.box(plan.objectives)
    assert worst[0] == 0
    assert best[0] == -100
    assert worst[1] == plan.space.latency_ms("pixel3").max()


def test_a_damaged_table_of_a_run_is_refused_and_built_again_once_removed(tmp_path) -> None:
    plan = Plan.make("nasbench201", "pixel3", None)
    first = plan.build_tables(tmp_path, Silent())
    path = tmp_path / "latency.npz"
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    content["array_0"][1, 1, 1, 1, 1, 1] = np.nan
    np.savez(path, **content)
    message = (
        r"latency\.npz: the slot \S+ has nan ms at its entry \[1, 1, 1, 1, 1, 1\].* remove it and"
    )
    with pytest.raises(FormatError, match=message):
        plan.build_tables(tmp_path, Silent())
    path.unlink()
    again = plan.build_tables(tmp_path, Silent())
    genomes = np.array([[1] * 6])
    assert again.values(genomes)["latency"] == first.values(genomes)["latency"]


def test_a_device_whose_times_cannot_be_leaves_no_table(tmp_path) -> None:
    table = dataclasses.replace(FakeDevice().table(MoGASpace(32)), constant=-1e3)
    wrong = TableDevice("wrong", {"moga": TableSource(lambda _: table, tuple)})
    plan = Plan.make(MoGASpace(32), wrong, ["latency", "params"])
    with pytest.raises(UsageError, match=r"latency\.npz is not written, for networks would"):
        plan.build_tables(tmp_path, Silent())
    assert not (tmp_path / "latency.npz").exists()


def test_known_costs_are_nan_where_an_evaluation_is_needed(tmp_path) -> None:
    plan = Plan.make("nasbench201", "pixel3", ["accuracy", "latency", "params:max"])
    tables = plan.build_tables(tmp_path / "tables", Silent())
    costs = plan.problem(tables).known(np.array([[3, 3, 3, 3, 3, 3]]))
    assert np.isnan(costs[0, 0])
    assert costs[0, 1] > 0
    assert costs[0, 2] < 0


def test_evaluator_without_the_metric(tmp_path) -> None:
    plan = Plan.make(
        "nasbench201", "pixel3", None, evaluator=TableEvaluator(metrics=("energy",), table={})
    )
    with pytest.raises(UsageError, match="gives energy, but not accuracy"):
        plan.build_evaluator(0, tmp_path, Silent())


class Own:
    """Gives a metric that moga does not know."""

    def __init__(self, *metrics):
        self.metrics = metrics

    def evaluate(self, networks):
        return []


@pytest.mark.parametrize("name", ["Energy", "order", "energy_se", "name", "latency_ms", 3])
def test_own_metrics_that_cannot_be_columns(name) -> None:
    with pytest.raises(UsageError, match=rf"the evaluator calls a metric {name!r}; give small"):
        Plan.make("nasbench201", "pixel3", ["accuracy"], evaluator=Own("accuracy", name))


@pytest.mark.parametrize("evaluator", [None, Own("accuracy"), "tabular"])
def test_a_metric_that_nobody_gives_is_refused(evaluator) -> None:
    for goal in ("energy:min", Objective("energy", "min")):
        with pytest.raises(UnknownName, match="unknown metric 'energy'"):
            Plan.make("nasbench201", "pixel3", ["accuracy", goal], evaluator=evaluator)


def test_an_evaluator_that_is_needed_gives_all_its_metrics() -> None:
    own = Own("accuracy", "energy", "params")
    plan = Plan.make("nasbench201", "pixel3", ["energy:min", "params"], evaluator=own)
    assert plan.evaluated == ("energy", "accuracy")
    assert Plan.make("nasbench201", "pixel3", ["params"], evaluator=own).evaluated == ()


def test_a_space_without_accuracies_is_refused_before_anything_is_built() -> None:
    with pytest.raises(
        UsageError, match=r"genet\(.*\) has no source of accuracy of its own. No ev"
    ):
        Plan.make("genet", "v100", ["accuracy", "latency"])
    Plan.make("genet", "v100", ["latency", "macs:max"])


def test_a_space_that_is_an_object_gets_images_where_a_supernet_is_asked_for() -> None:
    class Silent32(MoGASpace):
        default_evaluator = ""

    space = Silent32(resolution=32, width=0.35, num_classes=10)
    trained = Plan.make(space, "v100", ["accuracy", "latency"], evaluator="supernet")
    assert trained.images.resolution == 32
    assert Plan.make(space, "v100", ["latency", "macs:max"]).images is None
