"""What the commands print: tables for people, one JSON object for scripts."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from moga.devices.tableerror import TableError
    from moga.result import Result
    from moga.spaces.cost import CostTable

__all__ = ["print_json", "print_message", "print_profile", "print_result"]

_ROUGH: Final = 50
"""Fewer networks than these give a fitted table rough intervals."""


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object to standard output; what is not finite becomes null."""
    sys.stdout.write(json.dumps(_finite(content), allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def print_message(text: str) -> None:
    """Print a line for people to standard error."""
    sys.stderr.write(text + "\n")


def print_result(result: "Result", *, as_json: bool) -> None:
    """Print what a search found: the family, where the report is, how to go on."""
    states = result.evaluations["status"].tolist() if len(result.evaluations) else []
    measured = (result.measured or {}).get("devices", ())
    content = {
        "run_dir": str(result.run_dir),
        "report": str(result.run_dir / "report.html"),
        "evaluations": len(result.evaluations),
        "measured": states.count("measured"),
        "failed": states.count("failed"),
        "front": len(result.front),
        "why_empty": result.why_empty,
        "hypervolume": float(result.hypervolume),
        "family": (result.family or {}).get("members", []),
        "end_to_end": {entry["device"]: entry["summary"] or entry["failed"] for entry in measured},
    }
    if as_json:
        print_json(content)
        return
    if content["family"]:
        _print_family(content["family"], measured)
    _print_lines(content, measured)


def _print_family(members: list[Mapping[str, Any]], devices: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from moga.report.text import column, label, searched_by, unmeasured, value_text

    by_evaluator = {
        column(str(entry["metric"])) for entry in devices if searched_by(entry) == "measurement"
    }
    table = Table(title="The family", title_justify="left", title_style="bold")
    table.add_column("network", style="bold")
    columns = _columns(members)
    for name in columns:
        measured = " measured in the search" if name in by_evaluator else ""
        table.add_column(label(name) + measured, justify="right")
    for member in members:
        errors = [member.get(name.replace(*_error_of(name))) for name in columns]
        cells = [value_text(n, member.get(n), e) for n, e in zip(columns, errors, strict=True)]
        table.add_row(str(member["name"]), *cells)
    table.caption, table.caption_justify = " ".join(unmeasured(members)) or None, "left"
    Console(markup=False, highlight=False).print(table)


def _error_of(name: str) -> tuple[str, str]:
    base = name.partition("@")[0]
    return base, f"{base}_se"


def _columns(members: list[Mapping[str, Any]]) -> list[str]:
    """Return the figures that at least one member has, in a reader's order."""
    from moga.report.text import is_own

    order = ("accuracy", "test_accuracy", "latency_ms", "measured_ms", "params", "macs")
    keys = dict.fromkeys(str(key) for member in members for key in member)
    known = [key for key in keys if any(member.get(key) is not None for member in members)]
    own = [key for key in known if is_own(key)]
    return [key for base in (*order, *own) for key in known if key.partition("@")[0] == base]


_WENT_BY: Final = {
    "prediction": "the latency table that the search went by",
    "measurement": "the latencies that were measured in the search",
}


def _end_to_end(entry: Mapping[str, Any]) -> list[str]:
    """Return lines on the front that a device timed end to end: against what, and what to do."""
    if entry["failed"]:
        return [f"Front on {entry['device']}: not measured end to end: {entry['failed']}"]
    from moga.report.text import searched_by

    against = _WENT_BY[searched_by(entry)]
    lines = [f"Front on {entry['device']}, {against} against {entry['summary']}"]
    return lines + ([f"Caution:  {entry['caution']}"] if entry.get("caution") else [])


def _print_lines(content: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> None:
    failed = f", {content['failed']} failed" if content["failed"] else ""
    directory = Path(content["run_dir"])
    volume = content["hypervolume"]
    lines = [
        f"{content['measured']} networks evaluated{failed}; {content['front']} on the front; "
        f"hypervolume {'unknown' if math.isnan(volume) else f'{volume:.4f}'}"
    ]
    if content["why_empty"]:
        lines.append(f"Nothing is on the front: {content['why_empty']}.")
    lines += [line for entry in measured for line in _end_to_end(entry)]
    lines.append(f"Report:   {content['report']}")
    if content["family"]:
        lines.append(f"Networks: {directory / 'family'}")
    lines.append(f"Print this again with: moga resume {directory}")
    sys.stdout.write("\n".join(lines) + "\n")


def print_profile(
    table: "CostTable", error: "TableError | None", path: Path, *, as_json: bool
) -> None:
    """Print where a latency table lies, how it was measured, and how wrong it is."""
    if as_json:
        print_json(_profile(table, error, path))
        return
    from rich.console import Console
    from rich.table import Table

    from moga.devices.base import method_text

    low, high = table.bounds
    shown = Table(show_header=False, box=None, pad_edge=False)
    shown.add_row("table", str(path))
    shown.add_row("space", table.space.spec)
    shown.add_row("networks take", f"{low:.4g} to {high:.4g} {table.unit}")
    for key, value in table.provenance.items():
        if key != "spread_percent":
            text = method_text(table.provenance) if key == "method" else _text(value)
            shown.add_row(key.replace("_", " "), text)
    shown.add_row("spread", _spread(table))
    shown.add_row("error", str(error) if error else _unmeasured(table))
    if beware := _beware(table, error):
        shown.add_row("caution", beware)
    Console(markup=False, highlight=False).print(shown)


def _spread(table: "CostTable") -> str:
    from moga.devices.base import spread_percent

    percent = spread_percent(table)
    if percent is None:
        return "not measured"
    return f"± {percent:.2g} % of a network's latency, one standard error (the networks' median)"


def _beware(table: "CostTable", error: "TableError | None") -> str:
    """Say that a table is off by far more than its spread, or holds what no device does; or ""."""
    from moga.devices.imported import constant_caution
    from moga.devices.plausible import speed_caution
    from moga.devices.tableerror import caution

    if error is not None:
        return caution(table, error)
    speed = table.provenance.get("gmacs_per_s")
    found = [] if speed is None else [speed_caution(speed)]
    if table.provenance.get("method") == "imported":
        found.append(constant_caution(table))
    return "; ".join(filter(None, found))


def _unmeasured(table: "CostTable") -> str:
    """Say what is known of a table's error where no network was measured for it."""
    blocks = table.provenance.get("blocks_predicted")
    if not blocks:
        return _error_of_networks(table)
    error = table.provenance["prediction_error_percent"]
    return (
        f"{_error_of_networks(table)}; of the {blocks} predicted blocks MAPE {error:.2g} %, by "
        "leaving out those that were timed"
    )


def _error_of_networks(table: "CostTable") -> str:
    if table.provenance.get("method") == "fitted":
        mape, networks = table.provenance["cv_mape"], table.provenance["networks"]
        rough = "; of so few networks the interval is rough: give 50 or more"
        return (
            f"MAPE {mape:.2g} % of networks held out ({networks} networks, cross-validated); a new "
            f"timing lies within ± {1.645 * table.provenance['standard_error_ms']:.2g} ms in 90 %"
            + (rough if networks < _ROUGH else "")
        )
    if table.provenance.get("method") == "imported":
        error = table.provenance.get("anchor_error_percent")
        if error is None:
            return "not known: the times have fewer than two whole networks to compare with"
        return (
            f"MAPE {error:.2g} % of the {table.provenance['anchors']} whole networks, each left "
            "out in turn"
        )
    if table.provenance.get("method") == "roofline":
        error = table.provenance["error_percent"]
        if table.provenance["error_kind"] == "priors alone":
            return f"about {error:.0f} % of a network's time (priors alone: nothing was left out)"
        from moga.devices.roofline import batches_text

        known, batch = table.provenance["calibrated_batches"], table.provenance["batch"]
        beyond = known and not known[0] <= batch <= known[-1]
        where = f" at batch {batches_text(known)}; not known at batch {batch}" if beyond else ""
        return f"MAPE {error:g} % of networks left out{where}"
    return "not measured (the device is a table itself)"


def _text(value: Any) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _profile(table: "CostTable", error: "TableError | None", path: Path) -> dict[str, Any]:
    from moga.devices.base import spread_percent

    figures = (
        *("networks", "mape", "bias", "rmse_ms", "spearman", "noise"),
        *("drift", "mape_same_speed"),
    )
    return {
        "table": str(path),
        "metric": table.metric,
        "unit": table.unit,
        "space": table.space.spec,
        "bounds": list(table.bounds),
        "grid": table.grid,
        "spread_percent": spread_percent(table),
        "provenance": dict(table.provenance),
        "error": {name: getattr(error, name) for name in figures} if error else None,
        "caution": _beware(table, error),
    }
