"""Names and entry points -> objects; text such as ``"moga(resolution=32, width=.35)"``.

Built-ins stand here as ``"module:attribute"`` text, so that this module imports nothing above it.
Third parties add their own by entry points of the groups ``moga.spaces``, ``moga.devices``,
``moga.searchers``, ``moga.evaluators``, ``moga.families`` and ``moga.executors``, or pass objects
instead of names.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module, metadata
from typing import Any, Final

from moga.errors import MogaError, UnknownName, UsageError

__all__ = ["KINDS", "create", "names", "parameters", "parse_call"]

_BUILTINS: Final[Mapping[str, Mapping[str, str]]] = {
    "space": {
        "moga": "moga.spaces.moga:MoGASpace",
        "genet": "moga.spaces.genet:GENetSpace",
        "gpunet": "moga.spaces.gpunet:GPUNetSpace",
        "efficientnet_x": "moga.spaces.efficientnet_x:EfficientNetXSpace",
        "fbnet": "moga.spaces.fbnet:FBNetSpace",
        "nasbench201": "moga.spaces.nasbench201:NASBench201",
        "subspace": "moga.spaces.subspace:Subspace",
    },
    "device": {
        "cpu": "moga.devices.host:cpu",
        "cuda": "moga.devices.host:cuda",
        "onnxruntime": "moga.devices.host:onnxruntime",
        "tensorrt": "moga.devices.host:tensorrt",
        "preset": "moga.devices.presets:preset",
        "table": "moga.devices.table:from_file",
    },
    "searcher": {
        "auto": "moga.searchers.auto:Auto",
        "bayes": "moga.searchers.bayes:Bayes",
        "lamcts": "moga.searchers.lamcts:LAMCTS",
        "controller": "moga.searchers.controller:Controller",
        "llr": "moga.searchers.llr:LLR",
        "nsga2": "moga.searchers.nsga2:NSGA2",
        "evolution": "moga.searchers.evolution:RegularizedEvolution",
        "local": "moga.searchers.local:LocalSearch",
        "pymoo": "moga.searchers.pymoo:Pymoo",
        "portfolio": "moga.searchers.portfolio:Portfolio",
        "random": "moga.searchers.random:RandomSearch",
    },
    "executor": {
        "local": "moga.runtime.local:LocalExecutor",
        "ray": "moga.runtime.ray:RayExecutor",
    },
    "evaluator": {
        "supernet": "moga.supernets.source:supernet",
        "tabular": "moga.supernets.tabular:TabularEvaluator",
        "latency": "moga.devices.evaluator:LatencyEvaluator",
    },
    "family": {"moga": "moga.families.moga:MoGA"},
}

_CATALOGUES: Final[Mapping[str, str]] = {"device": "moga.devices.catalog:CATALOG"}
"""Mappings of further names to factories, for what is data rather than code."""

_PASSED: Final[Mapping[str, tuple[str, ...]]] = {
    "searcher": ("problem", "rng"),
    "evaluator": ("space", "images", "directory", "progress"),
    "executor": ("retries",),
}
"""Arguments of factories that a search passes, as objects that no text can give."""

_SWITCHES: Final = {"true": True, "false": False}
_PATH: Final = re.compile(r"[A-Za-z_][\w./-]*")

KINDS: Final = tuple(_BUILTINS)


def _load(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def _catalogue(kind: str) -> Mapping[str, Callable[..., Any]]:
    if kind not in _CATALOGUES:
        return {}
    found: Mapping[str, Callable[..., Any]] = _load(_CATALOGUES[kind])
    return found


def _plugins(kind: str) -> dict[str, metadata.EntryPoint]:
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(
        group=f"moga.{kind}s" if kind != "family" else "moga.families"
    ):
        if point.name in found or point.name in _BUILTINS[kind]:
            raise UsageError(
                f"two plug-ins offer the {kind} {point.name!r} (one is {point.value}); "
                "uninstall one of them"
            )
        found[point.name] = point
    return found


def names(kind: str) -> list[str]:
    """Return all names of a kind: built-in, catalogued and from entry points, sorted."""
    return sorted({*_BUILTINS[kind], *_plugins(kind), *_catalogue(kind)})


def _factory(kind: str, name: str) -> Callable[..., Any]:
    if name in _BUILTINS[kind]:
        built_in: Callable[..., Any] = _load(_BUILTINS[kind][name])
        return built_in
    if name in (plugins := _plugins(kind)):
        plugin: Callable[..., Any] = plugins[name].load()
        return plugin
    if name in (catalogue := _catalogue(kind)):
        return catalogue[name]
    raise UnknownName(kind, name, names(kind))


def _value(node: ast.expr, source: str, text: str) -> Any:
    if isinstance(node, ast.Name):
        return _SWITCHES.get(node.id, node.id)
    if isinstance(node, ast.List | ast.Tuple):
        values = [_value(element, source, text) for element in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Call):  # such as searchers=[nsga2(population=20), local]
        return ast.unparse(node)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        words = ast.get_source_segment(source, node) or ""
        if _PATH.fullmatch(words):
            return words
        raise UsageError(
            f"cannot read {ast.unparse(node)!r} in {text!r}; give a number, a word or a quoted text"
        ) from error


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``name`` or ``name(key=value, ...)``; a bare word as a value is a text, a call too.

    So is a path of letters, digits, ``_``, ``-``, ``.`` and ``/`` that begins with a letter; other
    paths need quotes.

    Raises:
        UsageError: text of another form.

    Example:
        >>> parse_call("nasbench201(data=cifar100)")
        ('nasbench201', {'data': 'cifar100'})
    """
    name, opening, _ = text.strip().partition("(")
    if not opening:
        return name.strip(), {}
    source = f"_{text.strip()[len(name) :]}"
    try:
        call = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        quotes = ", with quotes around a path" if "/" in text or "." in text else ""
        raise UsageError(f"cannot read {text!r}; expected name(key=value, ...){quotes}") from error
    if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
        raise UsageError(f"cannot read {text!r}; expected name(key=value, ...)")
    if len({keyword.arg for keyword in call.keywords}) < len(call.keywords):
        raise UsageError(f"{text!r} gives an argument twice")
    return name.strip(), {
        str(keyword.arg): _value(keyword.value, source, text) for keyword in call.keywords
    }


def parameters(kind: str, text: str) -> tuple[str, ...]:
    """Check a name with its arguments, and return the names of all that a text can give it.

    Raises:
        UnknownName: no such name; near ones are listed.
        UsageError: an argument that the factory does not take.
    """
    return _given_by_text(kind, _checked(kind, text)[1])


def _given_by_text(kind: str, taken: Iterable[str]) -> tuple[str, ...]:
    return tuple(key for key in taken if key not in _PASSED.get(kind, ()))


def _checked(
    kind: str, text: str
) -> tuple[Callable[..., Any], Mapping[str, inspect.Parameter], dict[str, Any]]:
    name, arguments = parse_call(text)
    factory = _factory(kind, name)
    taken = inspect.signature(factory).parameters
    allowed = _given_by_text(kind, taken)
    if unknown := sorted(set(arguments) - set(allowed)):
        raise UsageError(
            f"the {kind} {name!r} takes no {', '.join(unknown)}; it takes: "
            f"{', '.join(allowed) or 'no arguments'}"
        )
    return factory, taken, arguments


def create(kind: str, spec: Any, **defaults: Any) -> Any:
    """Build what a text names, or return an object unchanged.

    Args:
        kind: one of `KINDS`.
        spec: a name, text with arguments, or the object itself.
        **defaults: arguments for what the text leaves open, passed where the factory takes them.

    Raises:
        UnknownName: no such name; near ones are listed.
        UsageError: an argument that the factory does not take, or one that it needs and lacks.
    """
    if not isinstance(spec, str):
        return spec
    factory, taken, arguments = _checked(kind, spec)
    offered = {key: value for key, value in defaults.items() if key in taken}
    given = {**offered, **arguments}
    lacking = [
        key
        for key, parameter in taken.items()
        if key not in given
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if lacking:
        example = ", ".join(f"{key}=..." for key in lacking)
        raise UsageError(f"the {kind} {spec!r} needs {', '.join(lacking)}: {spec}({example})")
    for key, value in arguments.items():
        if isinstance(taken[key].default, bool) and not isinstance(value, bool):
            raise UsageError(f"{key} of {spec!r} is {value!r}; give true or false")
    try:
        return factory(**given)
    except (TypeError, ValueError) as error:
        if isinstance(error, MogaError) or not arguments:
            raise
        raise UsageError(
            f"the {kind} {spec!r} cannot be made: {error}. Is each argument of the type that it "
            "takes?"
        ) from error
