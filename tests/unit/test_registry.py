from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

from moga import registry
from moga.errors import UnknownName, UsageError
from moga.registry import KINDS, create, names, parameters, parse_call
from moga.spaces.moga import MoGASpace
from moga.testing.searchers import make_problem


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("moga", "moga", {}),
        (" moga ", "moga", {}),
        ("moga()", "moga", {}),
        ("moga(resolution=32, width=.35)", "moga", {"resolution": 32, "width": 0.35}),
        ("moga (resolution=32)", "moga", {"resolution": 32}),
        ("nasbench201(data=cifar100)", "nasbench201", {"data": "cifar100"}),
        ("nasbench201(data='cifar100')", "nasbench201", {"data": "cifar100"}),
        ("table(path=T.npz)", "table", {"path": "T.npz"}),
        (" table(path=runs/a-1/T.npz, name=x)", "table", {"path": "runs/a-1/T.npz", "name": "x"}),
        ("x(a=None, b=-1, c=(1, 2), d=True)", "x", {"a": None, "b": -1, "c": (1, 2), "d": True}),
    ],
)
def test_parse_call(text: str, name: str, arguments: dict[str, Any]) -> None:
    assert parse_call(text) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("moga(", r"cannot read 'moga\('; expected name\(key=value, ...\)"),
        ("moga(32)", r"cannot read 'moga\(32\)'; expected name\(key=value"),
        ("moga(**x)", r"cannot read 'moga\(\*\*x\)'; expected name"),
        ("moga(a=1)+1", "cannot read .*; expected name"),
        ("moga(a=1+x)", r"cannot read '1 \+ x' in .*; give a number, a word or a quoted text"),
        ("moga(a={[]: 1})", "give a number, a word or a quoted text"),
        ("moga(a=1, a=2)", "gives an argument twice"),
        ("table(path=/tmp/T.npz)", r"expected name\(key=value, ...\), with quotes around a path"),
    ],
)
def test_parse_call_refuses(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_call(text)


def test_create_builds_from_text_and_passes_objects_through() -> None:
    space = create("space", "moga(resolution=64, width=.5)")
    assert isinstance(space, MoGASpace)
    assert (space.resolution, space.width) == (64, 0.5)
    assert create("space", space) is space


def test_defaults_fill_what_the_text_leaves_open_and_the_factory_takes() -> None:
    space = create("space", "moga(resolution=64)", resolution=32, num_classes=10, colour="red")
    assert (space.resolution, space.num_classes) == (64, 10)


def test_parameters_names_what_a_factory_takes_and_checks_the_text() -> None:
    taken = ("resolution", "width", "num_classes", "stem_stride")
    assert parameters("space", "moga(width=1)") == taken
    assert parameters("space", "nasbench201") == ("data",)
    with pytest.raises(UsageError, match="the space 'moga' takes no depth"):
        parameters("space", "moga(depth=3)")


def test_create_refuses_unknown_names_and_arguments() -> None:
    with pytest.raises(UnknownName, match=r"unknown space 'mogo'. Did you mean 'moga'\?"):
        create("space", "mogo")
    with pytest.raises(
        UsageError,
        match="the space 'moga' takes no depth; it takes: resolution, width, num_classes",
    ):
        create("space", "moga(depth=3)")


@pytest.mark.parametrize(
    ("kind", "text", "taken"),
    [
        (
            "searcher",
            "nsga2(pop=3)",
            "the searcher 'nsga2' takes no pop; it takes: population, off",
        ),
        ("searcher", "local(problem=3)", "takes no problem; it takes: initial, start, oversample$"),
        ("evaluator", "supernet(images=3)", "takes no images; it takes: recipe, .*, epochs, seed$"),
        ("evaluator", "tabular(split=test)", "takes no split; it takes: no arguments$"),
        ("executor", "local(retries=3)", "takes no retries; it takes: time_limit$"),
    ],
)
def test_what_a_search_passes_is_no_argument_of_a_text(kind: str, text: str, taken: str) -> None:
    with pytest.raises(UsageError, match=taken):
        parameters(kind, text)


def test_switches_are_true_or_false() -> None:
    assert parse_call("portfolio(remote=false, hard=true)")[1] == {"remote": False, "hard": True}
    with pytest.raises(UsageError, match=r"remote of 'portfolio\(remote=no\)' is 'no'; give true"):
        create("searcher", "portfolio(remote=no)", problem=None, rng=None)


def test_arguments_of_another_type_are_no_traceback() -> None:
    problem, rng = make_problem(), np.random.default_rng(0)
    for text in ("llr(budgets=5)", "portfolio(searchers=5)", "llr(budgets=[[1]])"):
        with pytest.raises(UsageError, match=r"cannot be made: .*Is each argument of the type"):
            create("searcher", text, problem=problem, rng=rng)


def test_create_names_the_arguments_that_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_factory", lambda _kind, _name: lambda path: path)
    with pytest.raises(UsageError, match=r"the device 'mine' needs path: mine\(path=\.\.\.\)"):
        create("device", "mine")


def test_create_says_where_no_arguments_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(registry, "_factory", lambda _kind, _name: lambda: 1)
    with pytest.raises(UsageError, match="'plain' takes no a; it takes: no arguments"):
        create("executor", "plain(a=1)")


def _offer(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    def entry_points(*, group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(registry.metadata, "entry_points", entry_points)


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("space", "moga.spaces"),
        ("searcher", "moga.searchers"),
        ("executor", "moga.executors"),
        ("family", "moga.families"),
    ],
)
def test_plugins_are_found(monkeypatch: pytest.MonkeyPatch, kind: str, group: str) -> None:
    _offer(monkeypatch, EntryPoint("mine", "fractions:Fraction", group))
    assert "mine" in names(kind)
    assert create(kind, "mine(numerator=3)") == 3


def test_two_plugins_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, EntryPoint("moga", "fractions:Fraction", "moga.spaces"))
    with pytest.raises(UsageError, match="two plug-ins offer the space 'moga'"):
        names("space")
    one = EntryPoint("mine", "fractions:Fraction", "moga.spaces")
    _offer(monkeypatch, one, EntryPoint("mine", "collections:Counter", "moga.spaces"))
    with pytest.raises(UsageError, match=r"'mine' \(one is collections:Counter\); uninstall"):
        names("space")


@pytest.mark.parametrize("kind", KINDS)
def test_every_builtin_of_every_kind_can_be_loaded(kind: str) -> None:
    found = names(kind)
    assert found == sorted(found)
    for name in found:
        factory: Callable[..., Any] = registry._factory(kind, name)
        assert callable(factory)


def test_lists_of_words_and_calls_are_texts() -> None:
    text = "portfolio(searchers=[nsga2(population=20, mode=steady), local], start=[[0, 1], [2, 3]])"
    assert registry.parse_call(text)[1] == {
        "searchers": ["nsga2(population=20, mode=steady)", "local"],
        "start": [[0, 1], [2, 3]],
    }
