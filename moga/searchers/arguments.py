"""What searchers check of what they are given, with one wording for each kind."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from moga.contracts import Genomes, Problem, is_count, is_number
from moga.errors import InvalidGenome, UsageError

__all__ = ["check_genomes", "check_integer", "check_number", "check_word"]


def check_integer(name: str, value: Any, least: int = 1, most: float = math.inf) -> None:
    """Refuse what is no integer from `least` to `most`.

    Raises:
        UsageError: names the argument, what it is, and what to give.
    """
    if is_count(value, least) and value <= most:
        return
    allowed = f"of {least} or more" if math.isinf(most) else f"from {least} to {most:g}"
    raise UsageError(f"{name} is {value!r}; give an integer {allowed}")


def check_number(
    name: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    ends: bool = True,
) -> None:
    """Refuse what is no finite number from `least` to `most`.

    Args:
        name: the argument's.
        value: what was given.
        least: the smallest allowed; -inf: any.
        most: the largest allowed; inf: any.
        ends: whether `least` and `most` themselves are allowed.

    Raises:
        UsageError: names the argument, what it is, and what to give.
    """
    if is_number(value) and least <= value <= most and (ends or least < value < most):
        return
    if math.isfinite(least) and math.isfinite(most):
        allowed = f"from {least:g} to {most:g}" if ends else f"between {least:g} and {most:g}"
    elif math.isfinite(least):
        allowed = f"of {least:g} or more" if ends else f"above {least:g}"
    else:
        allowed = f"of {most:g} or less" if ends else f"below {most:g}"
    raise UsageError(f"{name} is {value!r}; give a number {allowed}")


def check_word(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse what is none of the words.

    Raises:
        UsageError: names the argument, what it is, and the words.
    """
    if isinstance(value, str) and value in allowed:
        return
    words = [repr(word) for word in allowed]
    raise UsageError(f"{name} is {value!r}; give {', '.join(words[:-1])} or {words[-1]}")


def check_genomes(source: str, genomes: object, problem: Problem) -> Genomes:
    """Return genomes as an array of shape (n, genes); an empty list is none of them.

    Args:
        source: where they come from, for the message.
        genomes: what should be integers of that shape.
        problem: whose genes they have.

    Raises:
        InvalidGenome: another shape or type, or a value out of range; says where and what.
    """
    array, sizes = np.asarray(genomes), problem.sizes
    if array.shape == (0,):
        return np.empty((0, len(sizes)), dtype=np.int64)
    if array.ndim != 2 or array.shape[1] != len(sizes) or array.dtype.kind not in "iu":
        raise InvalidGenome(
            f"{source} holds genomes of shape {array.shape} and type {array.dtype}; give integers "
            f"of shape (n, {len(sizes)})"
        )
    if (wrong := (array < 0) | (array >= sizes)).any():
        row, column = np.argwhere(wrong)[0]
        raise InvalidGenome(
            f"genome {row} of {source} has {array[row, column]} for gene "
            f"{problem.genes[column].name!r}; allowed: 0 to {sizes[column] - 1}"
        )
    return array.astype(np.int64, copy=False)
