import pickle

import pytest

from moga import errors
from moga.errors import MissingExtra, MogaError, UnknownName, UsageError


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_a_moga_error_and_stands_in_the_drawn_tree(name: str) -> None:
    assert issubclass(getattr(errors, name), MogaError)
    assert name in errors.__doc__


def test_usage_errors_are_value_errors() -> None:
    assert issubclass(UsageError, ValueError)
    assert not issubclass(errors.Exhausted, UsageError)
    assert not issubclass(errors.MeasurementFailed, UsageError)


def test_unknown_name_lists_near_names_first() -> None:
    error = UnknownName("space", "mga", ["nasbench201", "moga"])
    assert str(error) == ("unknown space 'mga'. Did you mean 'moga'? Known: moga, nasbench201.")


def test_unknown_name_without_near_or_known_names() -> None:
    assert str(UnknownName("space", "x", [])) == "unknown space 'x'. Known: none."


def test_missing_extra_names_the_install_command() -> None:
    assert str(MissingExtra("tensorrt", "tensorrt")) == (
        "tensorrt is not installed. Install it with: pip install 'moga[tensorrt]'"
    )


@pytest.mark.parametrize(
    "error", [UnknownName("space", "mga", ["moga"]), MissingExtra("a", "b"), UsageError("text")]
)
def test_errors_survive_the_way_between_processes(error: MogaError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
