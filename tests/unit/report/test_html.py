import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from moga.errors import FormatError
from moga.report.html import write_report

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Checks that elements nest, and gathers attributes, scripts and visible text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.words, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_of(directory):
    return Page(write_report(directory).read_text(encoding="utf-8"))


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_page_has_every_section(run_directory):
    page = page_of(run_directory)
    for heading in (
        *("moga on cpu", "The front", "Hypervolume over evaluations", "The family side by side"),
        *("How it was measured", "Failures", "Settings, versions, host"),
    ):
        assert heading in page.text
    assert page.tags.count("h1") == 1
    assert "112 networks evaluated" in page.text
    assert "shuffled" in page.text
    assert "231.5" in page.text
    assert "3.11.9" in page.text
    assert "1 were skipped" in page.text


def test_the_page_needs_no_network(run_directory):
    text = write_report(run_directory).read_text(encoding="utf-8")
    page = Page(text)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset", "action", "data", "poster"):
            assert not re.match(r"\s*(https?:)?//", value or ""), (tag, name, value)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert '"showSendToCloud": false' in text
    assert "cdn.plot.ly" not in re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)


def test_plotly_is_there_once(run_directory):
    text = write_report(run_directory).read_text(encoding="utf-8")
    assert text.count("plotly.js v") == 1
    assert len(text) < 8_000_000


def test_the_family_table_marks_the_best(run_directory):
    text = write_report(run_directory).read_text(encoding="utf-8")
    members = json.loads((run_directory / "family.json").read_text())["members"]
    largest = max(range(3), key=lambda i: members[i]["params"])
    row = re.search(r'<th scope="row">parameters</th>(.*?)</tr>', text)[1]
    cells = re.findall(r"<td[^>]*>", row)
    assert [cell == '<td class="best">' for cell in cells] == [i == largest for i in range(3)]
    assert "-2.9 %" in text


def test_what_comes_from_files_is_escaped(run_directory):
    bad = '<script>alert(1)</script>"><img src=x>'

    def spoil(content):
        content["space"]["spec"] = content["searcher"] = content["seed"] = bad
        content["devices"] = [{"name": bad}]
        content["evaluator"] = {"name": bad, bad: [bad, {bad: bad}]}
        content["versions"] = content["host"] = {bad: bad}

    edit_json(run_directory / "run.json", spoil)
    edit_json(run_directory / "family.json", lambda c: c["members"][0].update(name=bad))
    edit_json(run_directory / "family.json", lambda c: c.update(recipe=bad, how={bad: bad}))
    text = write_report(run_directory).read_text(encoding="utf-8")
    page = Page(text)
    assert "<script>alert" not in text
    assert "img" not in page.tags
    assert "<b>bad" not in text


def test_a_page_without_family_says_so(run_directory):
    (run_directory / "family.json").unlink()
    text = page_of(run_directory).text
    assert "This run has no family" in text
    assert "no family was selected" in text


def test_a_page_without_measured_latencies_says_so(run_directory):
    def forget(content):
        for member in content["members"]:
            member.update(measured_ms=None, measured_ms_se=None)

    edit_json(run_directory / "family.json", forget)
    text = page_of(run_directory).text
    assert "Its latencies come from a table." in text
    assert "latency measured" not in text
    assert "prediction against measurement" not in text


def test_a_page_without_results_says_so(run_directory):
    path = run_directory / "evaluations.parquet"
    frame = pd.read_parquet(path).assign(status="failed", on_front=False, reason="", kind="nan")
    frame.drop(columns=["hypervolume"]).to_parquet(path)
    (run_directory / "family.json").unlink()
    edit_json(run_directory / "run.json", lambda c: c.update(evaluator=None, versions={}))
    for table in (run_directory / "tables").iterdir():
        table.unlink()
    text = page_of(run_directory).text
    for said in (
        *(
            "Nothing is on the front: 120 evaluations failed.",
            "recorded no hypervolume",
            "No evaluator",
        ),
        *("holds no cost tables", "no reason recorded", "not recorded"),
    ):
        assert said in text


def test_a_page_says_how_much_of_a_table_was_predicted(run_directory):
    assert "method measured protocol" in page_of(run_directory).text
    path = run_directory / "tables" / "latency.npz"
    with np.load(path) as file:
        content = dict(file)
    header = json.loads(str(content["header"]))
    header["provenance"]["blocks_predicted"] = 107
    np.savez(path, **{**content, "header": np.array(json.dumps(header))})
    assert "method measured, 63 % of blocks predicted protocol" in page_of(run_directory).text


def test_a_page_without_failures_and_with_limits(run_directory):
    path = run_directory / "evaluations.parquet"
    pd.read_parquet(path).assign(status="measured", accuracy=50.0).to_parquet(path)

    def limit(content):
        content["objectives"][1]["upper"] = 3.5
        content["constraints"] = [{"name": "macs", "lower": None, "upper": 3e8}]

    edit_json(run_directory / "run.json", limit)
    text = page_of(run_directory).text
    assert "None: no evaluation failed." in text
    assert "[at most 3.5]" in text
    assert "macs ≤ 3e+08" in text


def test_the_page_is_written_whole_or_not_at_all(run_directory):
    write_report(run_directory)
    before = (run_directory / "report.html").read_bytes()
    (run_directory / "family" / "A.json").unlink()
    with pytest.raises(FormatError, match=r"A\.json is missing"):
        write_report(run_directory)
    assert (run_directory / "report.html").read_bytes() == before
    assert not list(run_directory.glob(".report*"))


def test_two_devices_have_a_picture_and_rows_each(run_directory):
    path = run_directory / "evaluations.parquet"
    frame = pd.read_parquet(path)
    for old, new in (("latency_ms", "latency_ms@{}"), ("latency_ms_se", "latency_ms_se@{}")):
        for device in ("x1", "y2"):
            frame[new.format(device)] = frame[old]
    frame.drop(columns=["latency_ms", "latency_ms_se"]).to_parquet(path)

    def split(content):
        for member in content["members"]:
            for key in ("latency_ms", "latency_ms_se", "measured_ms", "measured_ms_se"):
                value = member.pop(key)
                member.update({f"{key}@x1": value, f"{key}@y2": value})

    edit_json(run_directory / "family.json", split)
    edit_json(
        run_directory / "run.json", lambda c: c.update(devices=[{"name": "x1"}, {"name": "y2"}])
    )
    page = page_of(run_directory)
    assert [v for tag, name, v in page.attributes if name == "id" and "front-" in v] == [
        "front-0",
        "front-1",
    ]
    for text in (
        *("latency on x1 predicted", "latency measured on y2"),
        "prediction against measurement on y2",
    ):
        assert text in page.text
    members = json.loads((run_directory / "family.json").read_text())["members"]
    assert f"{members[0]['latency_ms@y2']:.5f} ± " in page.text


def test_errors_are_promised_only_where_they_are_known(run_directory):
    assert "Bars: one standard error" in page_of(run_directory).text
    path = run_directory / "evaluations.parquet"
    frame = pd.read_parquet(path)
    frame.assign(accuracy_se=float("nan"), latency_ms_se=0.0).to_parquet(path)

    def forget(content):
        for member in content["members"]:
            member.update(accuracy_se=None, latency_ms_se=None, measured_ms_se=None)

    edit_json(run_directory / "family.json", forget)
    text = page_of(run_directory).text
    assert "one standard error" not in text
    assert "The spread of the latency was not measured." in text


def set_method(directory, method):
    path = directory / "tables" / "latency.npz"
    with np.load(path) as file:
        content = dict(file)
    header = json.loads(str(content["header"]))
    header["provenance"]["method"] = method
    np.savez(path, **{**content, "header": np.array(json.dumps(header))})


@pytest.mark.parametrize(
    ("method", "evaluated", "row", "plural"),
    [
        ("measured", ["accuracy"], "latency predicted", "predictions"),
        ("table", ["accuracy"], "latency recorded", "recorded ones"),
        ("measured", ["latency"], "latency measured in the search", "those that were measured"),
    ],
)
def test_latencies_are_called_what_they_are(run_directory, method, evaluated, row, plural):
    set_method(run_directory, method)
    edit_json(run_directory / "run.json", lambda c: c.update(evaluated=evaluated))
    text = page_of(run_directory).text
    assert f"{row} 0." in text or f"{row} 1." in text
    assert f"Its latencies are {plural}" in text


def test_a_page_of_a_run_that_evaluated_nothing(run_directory):
    path = run_directory / "evaluations.parquet"
    pd.read_parquet(path).assign(status="skipped", on_front=False).to_parquet(path)
    (run_directory / "family.json").unlink()
    text = page_of(run_directory).text
    assert "Nothing is on the front: 120 proposed networks exceed the limits" in text
    assert "No network was evaluated." in text
    assert "Hypervolume over" not in text
