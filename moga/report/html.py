"""The page of a run: ``report.html``, one file that needs no network.

Everything that comes from a file is escaped. What a run lacks is said, never left out in silence.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from moga.devices.base import method_text
from moga.files import atomic_write
from moga.report.book import limits_of
from moga.report.drawing import draw, legend
from moga.report.figures import DRAWN, front_axes, front_figure, hypervolume_figure
from moga.report.limits import why_empty
from moga.report.run import Member, Run, read_run
from moga.report.style import STYLE
from moga.report.text import (
    ABSENT,
    TIMES,
    big,
    column,
    is_own,
    label,
    searched_by,
    sentence,
    unmeasured,
    value_text,
)
from moga.runtime.rundir import how_to_continue

__all__ = ["render", "write_report"]

_MOST_ITEMS: Final = 12
_SETTINGS: Final = (
    *("moga", "started", "seed", "searcher", "executor", "evaluations", "hours"),
    *("in_flight", "batch", "order", "family"),
)
_CONFIG: Final = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,  # plotly's button would upload the run to its maker
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` into a run directory, whole or not at all, and return its path.

    Raises:
        FormatError: no run, no results yet, or damaged files.
    """
    run = read_run(run_dir)
    path = run.directory / "report.html"
    atomic_write(path, render(run))
    return path


def render(run: Run) -> str:
    """Return the page of a run as HTML."""
    from plotly.offline import get_plotlyjs

    sections = (_front, _end_to_end, _hypervolume, _family, _how, _failures, _setup)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_title(run)}</title>\n"
        '<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n<script>{get_plotlyjs()}</script>\n</head>\n<body>\n"
        f"{_headline(run)}\n<main>\n"
        + "\n".join(section(run) for section in sections)
        + f"\n</main>\n{_footer(run)}\n</body>\n</html>\n"
    )


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _section(name: str, title: str, *parts: str) -> str:
    body = "\n".join(part for part in parts if part)
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{body}\n</section>'


def _absent(text: str) -> str:
    return f'<p class="absent">{_text(text)}</p>'


def _space(run: Run) -> Mapping[str, Any]:
    space: Mapping[str, Any] = run.configuration["space"]
    return space


def _title(run: Run) -> str:
    return _text(f"{_space(run).get('name', '?')} on {', '.join(run.devices)}")


def _headline(run: Run) -> str:
    spec = _space(run).get("spec", "?")
    objectives = run.configuration["objectives"]
    weighted = len({objective.get("weight") for objective in objectives}) > 1
    goals = ", ".join(_goal(objective, weighted) for objective in objectives)
    tiles = "".join(
        f"<li><b>{_text(value)}</b><span>{_text(name)}</span></li>" for value, name in _tiles(run)
    )
    return (
        f"<header>\n<h1>{_title(run)}</h1>\n"
        f'<p class="lead">A search of <code>{_text(spec)}</code> by '
        f"{_text(run.configuration['searcher'])}, for {_text(goals)}. {_text(_outcome(run))}</p>\n"
        f"{_not_ended(run)}"
        f'<ul class="tiles">{tiles}</ul>\n</header>'
    )


def _not_ended(run: Run) -> str:
    """Say how far a run is that has not ended, and how it is continued; "" where it has."""
    if run.ended:
        return ""
    done, wanted = len(run.evaluated), run.configuration["evaluations"]
    cure = how_to_continue(run.directory, run.configuration)
    return _absent(
        f"This run has not ended: {done:,} of {wanted:,} evaluations are done. {sentence(cure)}."
    )


def _goal(objective: Mapping[str, Any], weighted: bool) -> str:
    way = "high" if objective["direction"] == "max" else "low"
    text = f"{way} {label(str(objective['name']))}"
    text += f" (weight {objective['weight']:g})" if weighted else ""
    limits = (("lower", "at least"), ("upper", "at most"))
    shown = [f"{word} {objective[key]:g}" for key, word in limits if objective.get(key) is not None]
    return text + (f" [{', '.join(shown)}]" if shown else "")


def _outcome(run: Run) -> str:
    if run.front.empty:
        why = why_empty(run.evaluations, *limits_of(run.configuration))
        return f"Nothing is on the front: {why}."
    if not run.members:
        return "The front is below; no family was selected."
    names = ", ".join(member.name for member in run.members)
    return f"{len(run.members)} networks were selected along the front: {names}."


def _tiles(run: Run) -> list[tuple[str, str]]:
    tiles = [
        (f"{len(run.measured):,}", "networks evaluated"),
        (f"{len(run.front):,}", "on the front"),
    ]
    if (volume := _last_hypervolume(run)) is not None:
        tiles.append((f"{volume:.4f}", "hypervolume, of 1"))
    for axis in ("accuracy", *(name for name in run.metric_columns if name.startswith("latency"))):
        if axis in run.front and not run.front.empty:
            best = run.front[axis].max() if run.direction(axis) == "max" else run.front[axis].min()
            tiles.append((value_text(axis, best), f"best {label(axis)} on the front"))
    return tiles


def _last_hypervolume(run: Run) -> float | None:
    if "hypervolume" not in run.evaluations or run.evaluations.empty:
        return None
    last = float(run.evaluations["hypervolume"].iloc[-1])
    return last if math.isfinite(last) else None


def _figure(figure: Any, name: str, described: str, caption: str) -> str:
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG)
    return (
        f'<figure>\n<div role="img" aria-label="{_text(described)}">{drawn}</div>\n'
        f"<figcaption>{_text(caption)}</figcaption>\n</figure>"
    )


def _front(run: Run) -> str:
    axes = front_axes(run)
    if not axes or run.front.empty:
        return _section("front", "The front", _absent("There is nothing to draw: " + _outcome(run)))
    pictures = []
    for number, (x, y) in enumerate(axes):
        described = (
            f"Scatter plot of {label(y)} against {label(x)}: {len(run.measured)} evaluated "
            f"networks, {len(run.front)} of them on the front. The family's table gives figures."
        )
        pictures.append(
            _figure(front_figure(run, x, y), f"front-{number}", described, _front_caption(run))
        )
    return _section("front", "The front", *pictures)


def _front_caption(run: Run) -> str:
    text = "Point at a network for its figures; drag to enlarge, double-click to go back."
    if "params" in run.metric_columns:
        text = "Colour: parameters. " + text
    errors = [name for name in run.front if "_se" in str(name).partition("@")[0]]
    if run.front[errors].gt(0).to_numpy().any():
        text += " Bars: one standard error."
    if len(run.configuration["objectives"]) > 2:
        text += " The front has more objectives than this picture has axes."
    if len(run.measured) - len(run.front) > DRAWN:
        text += f" Behind the front, {DRAWN:,} evaluations are drawn, evenly spaced in their order."
    return text


def _end_to_end(run: Run) -> str:
    title = "Predicted against measured"
    parts = [_device_end_to_end(run, entry) for entry in run.end_to_end]
    if not parts:
        kinds = {_of_search(run, n) for n in run.metric_columns if n.startswith("latency_ms")}
        of = " and ".join(sorted(_PLURAL[kind] for kind in kinds))
        note = (
            f"The front was not measured end to end: {', '.join(run.devices)} cannot be measured "
            f"here. Its latencies are {of or 'unknown'}."
        )
        parts = [_absent(note)]
    return _section("measured", title, *parts)


def _device_end_to_end(run: Run, entry: Mapping[str, Any]) -> str:
    device = str(entry["device"])
    if not entry["networks"]:
        return _absent(f"The front could not be measured on {device}: {entry['failed']}")
    names = {tuple(m.values.get("genome") or ()): m.name for m in run.members}
    rows = "".join(
        _end_to_end_row(names.get(tuple(row["genome"]), ""), row)
        for row in sorted(entry["networks"], key=lambda row: float(row["predicted_ms"]))
    )
    caption = (
        f"Latency on {device} of {len(entry['networks'])} networks of the front, end to end, "
        f"against the {searched_by(entry)} that the search went by. {entry['summary']}."
    )
    if entry.get("caution"):
        caption += f" Caution: {entry['caution']}."
    before = "predicted" if searched_by(entry) == "prediction" else "measured in the search"
    heads = ("network", before, "measured", _DEVIATION[searched_by(entry)])
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<div class="scroll"><table>\n<caption>{_text(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody>\n</table></div>"
    )


_DEVIATION: Final = {
    "prediction": "prediction against measurement",
    "measurement": "in the search against at its end",
    "record": "recorded against measured here",
}
_PLURAL: Final = {
    "prediction": "predictions",
    "measurement": "those that were measured in the search",
    "record": "recorded ones",
}


def _of_search(run: Run, name: str) -> str:
    """Return what gave a column of latencies: a measurement, a record, or a prediction."""
    entries = [entry for entry in run.end_to_end if column(str(entry["metric"])) == name]
    if entries:
        return searched_by(entries[0])
    metric = name.replace("latency_ms", "latency")
    if metric in run.configuration.get("evaluated", ()):
        return "measurement"
    provenance = run.tables.get(metric, {}).get("provenance") or {}
    return "record" if provenance.get("method") == "table" else "prediction"


def _end_to_end_row(name: str, row: Mapping[str, Any]) -> str:
    before, after = float(row["predicted_ms"]), float(row["measured_ms"])
    cells = (
        value_text("latency_ms", before),
        value_text("measured_ms", after, row.get("measured_ms_se")),
        f"{100 * (before / after - 1):+.1f} %" if after else ABSENT,
    )
    genome = f"<code>{_text(' '.join(map(str, row['genome'])))}</code>"
    title = f"{_text(name)} {genome}" if name else genome
    drawn = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{title}</th>{drawn}</tr>'


def _hypervolume(run: Run) -> str:
    last, done = _last_hypervolume(run), len(run.evaluated)
    if last is None:
        said = "This run recorded no hypervolume"
        if own := [o["name"] for o in run.configuration["objectives"] if is_own(str(o["name"]))]:
            said += f": it takes the range of each objective, and nobody knows that of {own[0]}"
        return _section("progress", "Progress", _absent(f"{said}."))
    if not done:
        return _section("progress", "Progress", _absent("No network was evaluated."))
    described = f"Hypervolume over {done} evaluations; it ends at {last:.4f}."
    caption = (
        "Hypervolume: the share of the box between the worst and the best cost there can be that "
        "the front dominates."
    )
    picture = _figure(hypervolume_figure(run), "hypervolume", described, caption)
    return _section("progress", "Hypervolume over evaluations", picture)


def _family(run: Run) -> str:
    if not run.members:
        note = "This run has no family (there is no family.json, or it is empty)."
        return _section("family", "The family", _absent(note))
    widest = max(
        (b.hidden_channels / b.in_channels for m in run.members for b in m.network), default=1.0
    )
    cards = "".join(_card(run, member, max(widest, 1.0)) for member in run.members)
    return _section(
        "family",
        "The family side by side",
        _family_table(run),
        *_family_notes(run),
        legend(member.network for member in run.members),
        f'<div class="family">{cards}</div>',
    )


def _card(run: Run, member: Member, widest: float) -> str:
    shown = [
        value_text(name, member.values.get(name), member.error(name))
        for name in run.metric_columns
        if not name.startswith(("params", "macs")) and member.values.get(name) is not None
    ]
    shown.append(f"{big(member.values.get('params'))} parameters")
    return (
        f"<article>\n<h3>{_text(member.name)}</h3>\n"
        f'<p class="soft">{_text(" · ".join(shown))}</p>\n'
        f"{draw(member.network, member.name, widest=widest)}\n</article>"
    )


def _family_table(run: Run) -> str:
    head = "".join(f'<th scope="col">{_text(member.name)}</th>' for member in run.members)
    rows = [_values_row(run, name) for name in _family_columns(run)]
    rows += [_deviation_row(run, *pair) for pair in _measured_pairs(run)]
    rows.append(_row("input", [_shape(member) for member in run.members]))
    rows.append(_row("genome", [_genome(member) for member in run.members]))
    more = " More parameters count as better here." if run.direction("params") == "max" else ""
    errors = any("_se" in str(key) and _anyone_has(run, str(key)) for key in _keys(run))
    about = "± one standard error. " if errors else ""
    caption = f"{about}The best of a row stands out.{more}"
    return (
        f'<div class="scroll"><table>\n<caption>{_text(caption)}</caption>\n'
        f'<thead><tr><th scope="col">network</th>{head}</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody>\n</table></div>"
    )


def _family_columns(run: Run) -> list[str]:
    names = list(run.metric_columns)
    names[1:1] = ["test_accuracy"] if _anyone_has(run, "test_accuracy") else []
    keys = dict.fromkeys(str(key) for member in run.members for key in member.values)
    measured = [k for k in keys if k.partition("@")[0] == "measured_ms" and _anyone_has(run, k)]
    after = max(
        (i for i, n in enumerate(names) if n.startswith("latency_ms")), default=len(names) - 1
    )
    names[after + 1 : after + 1] = measured
    return [name for name in names if _anyone_has(run, name)]


def _anyone_has(run: Run, name: str) -> bool:
    return any(member.values.get(name) is not None for member in run.members)


def _values_row(run: Run, name: str) -> str:
    values = [member.values.get(name) for member in run.members]
    known = [value for value in values if value is not None]
    best = max(known) if run.direction(name) == "max" else min(known)
    cells = [value_text(name, m.values.get(name), m.error(name)) for m in run.members]
    better = bool(run.direction(name)) and len(set(known)) > 1
    marks = [better and value == best for value in values]
    how = {
        "prediction": " predicted",
        "measurement": " measured in the search",
        "record": " recorded",
    }
    latency = name.startswith("latency_ms")
    title = label(name) + (how[_of_search(run, name)] if latency else "")
    return _row(title, [_text(cell) for cell in cells], marks)


def _measured_pairs(run: Run) -> list[tuple[str, str]]:
    names = _family_columns(run)
    pairs = [(name, name.replace("latency_ms", "measured_ms")) for name in names]
    return [pair for pair in pairs if pair[0] != pair[1] and pair[1] in names]


def _deviation_row(run: Run, predicted: str, measured: str) -> str:
    cells = []
    for member in run.members:
        before, after = member.values.get(predicted), member.values.get(measured)
        cells.append(f"{100 * (before / after - 1):+.1f} %" if before and after else ABSENT)
    at = predicted.partition("@")[2]
    title = _DEVIATION[_of_search(run, predicted)]
    return _row(f"{title}{f' on {at}' if at else ''}", cells)


def _row(title: str, cells: Sequence[str], best: Sequence[bool] = ()) -> str:
    marks = list(best) or [False] * len(cells)
    drawn = "".join(
        f'<td class="best">{cell}<span class="soft" aria-label="best"> ★</span></td>'
        if mark
        else f"<td>{cell}</td>"
        for cell, mark in zip(cells, marks, strict=True)
    )
    return f'<tr><th scope="row">{_text(title)}</th>{drawn}</tr>'


def _shape(member: Member) -> str:
    return _text(f" {TIMES} ".join(map(str, member.network.input_shape)))


def _genome(member: Member) -> str:
    return f"<code>{_text(' '.join(map(str, member.values.get('genome') or ())) or ABSENT)}</code>"


def _family_notes(run: Run) -> list[str]:
    notes = []
    if not any(str(k).startswith("measured_ms") and _anyone_has(run, str(k)) for k in _keys(run)):
        notes.append(
            f"No network of this family was measured end to end: {', '.join(run.devices)} cannot "
            "be measured here, or the recipe does not measure. Its latencies come from a table."
        )
    notes += unmeasured([member.values for member in run.members])
    if not _anyone_has(run, "accuracy"):
        notes.append("The accuracy of these networks is unknown: the run did not evaluate it.")
    return [_absent(note) for note in notes]


def _keys(run: Run) -> Iterable[Any]:
    return dict.fromkeys(key for member in run.members for key in member.values)


def _how(run: Run) -> str:
    evaluator, data = run.configuration.get("evaluator"), run.configuration.get("data")
    parts = ["<h3>Accuracy</h3>"]
    parts.append(
        _tree(evaluator) if evaluator else _absent("No evaluator: nothing gave an accuracy.")
    )
    if data:
        parts += ["<h3>Images</h3>", _tree(data)]
    parts += [_table(name, header) for name, header in _latencies_first(run)]
    if not run.tables:
        parts.append(_absent("This run directory holds no cost tables."))
    if run.family is not None:
        parts += ["<h3>Selection and measurement of the family</h3>", _tree(_about_family(run))]
    return _section("how", "How it was measured", *parts)


def _latencies_first(run: Run) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(run.tables.items(), key=lambda item: (not item[0].startswith("latency"), item[0]))


def _table(name: str, header: Mapping[str, Any]) -> str:
    provenance = header.get("provenance") or {}
    provenance = {**provenance, "method": method_text(provenance)}
    known = {key: "not measured" if value is None else value for key, value in provenance.items()}
    about = {"unit": header.get("unit") or "count", "space": header.get("space"), **known}
    title = label(name.replace("latency", "latency_ms"))
    return f"<h3>Table: {_text(title)}</h3>\n{_tree(about)}"


def _about_family(run: Run) -> dict[str, Any]:
    family = run.family or {}
    how = family.get("how")
    return {"recipe": family.get("recipe", "?"), **(how if isinstance(how, Mapping) else {})}


def _tree(value: Any) -> str:
    """Return any JSON value as nested description lists."""
    if isinstance(value, Mapping):
        items = "".join(
            f"<dt>{_text(str(key).replace('_', ' '))}</dt><dd>{_tree(item)}</dd>"
            for key, item in value.items()
            if not (isinstance(item, Mapping) and not item)
        )
        return f"<dl>{items}</dl>" if items else ABSENT
    if isinstance(value, list | tuple):
        return _sequence(value)
    return _scalar(value)


def _sequence(values: Sequence[Any]) -> str:
    if any(isinstance(value, Mapping | list | tuple) for value in values):
        shown = "".join(f"<dd>{_tree(value)}</dd>" for value in values[:_MOST_ITEMS])
        more = len(values) - _MOST_ITEMS
        return f"<dl>{shown}</dl>" + (f"… and {more} more" if more > 0 else "")
    text = ", ".join(_scalar(value) for value in values[:_MOST_ITEMS])
    return text + (f", … ({len(values)} values)" if len(values) > _MOST_ITEMS else "") or ABSENT


def _scalar(value: Any) -> str:
    if value is None or value == "":
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _text(f"{value:.5g}" if isinstance(value, float) else value)


def _failures(run: Run) -> str:
    counts = run.evaluations["status"].value_counts()
    others = [
        f"{int(counts[status]):,} {words}"
        for status, words in (
            ("skipped", "were skipped: their known costs break a limit"),
            ("bounded", "were stopped early: what they gave is a bound, and never on the front"),
        )
        if status in counts
    ]
    said = f"<p>{_text('; '.join(others))}.</p>" if others else ""
    if not run.failures:
        return _section("failures", "Failures", "<p>None: no evaluation failed.</p>", said)
    rows = "".join(
        f"<tr><td>{count:,}</td><td>{_text(kind)}</td><td>{_text(reason)}</td></tr>"
        for kind, reason, count in run.failures
    )
    table = (
        '<div class="scroll"><table>\n<caption>Failed evaluations are told to the searcher and '
        'never stand on the front.</caption>\n<thead><tr><th scope="col">how many</th>'
        '<th scope="col">kind</th><th scope="col">reason</th></tr></thead>\n'
        f"<tbody>{rows}</tbody>\n</table></div>"
    )
    return _section("failures", "Failures", table, said)


def _setup(run: Run) -> str:
    configuration = run.configuration
    settings: dict[str, Any] = {key: configuration.get(key) for key in _SETTINGS}
    settings["space"] = _space(run)
    limits = configuration.get("constraints") or []
    settings["constraints"] = ", ".join(map(_goal_limit, limits)) or "none"
    parts: list[tuple[str, Any]] = [
        ("Settings", settings),
        ("Versions", configuration.get("versions")),
        ("Host", configuration.get("host")),
    ]
    drawn = "".join(
        f"<details open><summary>{name}</summary>"
        f"{_tree(value) if value else _absent('not recorded')}</details>"
        for name, value in parts
    )
    return _section("setup", "Settings, versions, host", drawn)


def _goal_limit(limit: Mapping[str, Any]) -> str:
    lower, upper = limit.get("lower"), limit.get("upper")
    text = str(limit.get("name", "?"))
    text = f"{lower:g} ≤ {text}" if lower is not None else text
    return f"{text} ≤ {upper:g}" if upper is not None else text


def _footer(run: Run) -> str:
    version = _text(run.configuration.get("moga", "?"))
    files = "run.json, evaluations.parquet, front.csv, measured.json, family.json"
    return (
        f"<footer><p>Written by moga {version} from the files of <code>{_text(run.directory.name)}"
        f"</code>: {files}. The page needs no network. Networks and weights of the family lie in "
        "<code>family/</code>.</p></footer>"
    )
