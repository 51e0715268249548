import math

import pytest

from moga.devices.importers.tflite import read_benchmark_model
from moga.errors import FormatError

SUMMARY = """\
INFO: STARTING!
INFO: Initialized session in 3.1ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
INFO: count=60 first=9100 curr=8000 min=7900 max=9100 avg=8010.5 std=90

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=100 first=8001 curr=7990 min=7900 max=8200 avg=8000.25 std=50

INFO: Inference timings in us: Init: 3100, First inference: 9100, Warmup (avg): 8010.5, \
Inference (avg): 8000.25
INFO: Memory footprint delta from the start of the tool (MB): init=2.4 overall=5.1
"""
ORDER = "============================== Run Order =============================="
TIME = "============================== Top by Computation Time =============================="
COLUMNS = ("[node type]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]")


def row(*cells):
    """A row as the tool aligns it: a tab before each column."""
    return "".join(f"\t{cell:>10}" for cell in cells[:-1]) + f"\t{cells[-1]}"


HEAD = row(*COLUMNS, "[Name]")
CONV = row("CONV_2D", "5.000", "4.800", "60.000%", "60.000%", "0.000", 1, "[a b, c]:0")
WISE = row("DEPTHWISE_CONV_2D", "1.700", "1.600", "40.000%", "100.000%", "0.000", 2, "[d]:1")
INIT = row("AllocateTensors", "0.300", "0.300", "100.000%", "100.000%", "0.000", 1, "Allocate/0")
PROFILE = "\n".join(
    [
        "INFO: Profiling Info for Benchmark Initialization:",
        *(ORDER, HEAD, INIT, ""),
        "INFO: Operator-wise Profiling Info for Regular Benchmark Runs:",
        *(ORDER, HEAD, CONV, WISE, ""),
        *(TIME, HEAD, CONV, ""),
    ]
)
CSV = """\
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 5, 4.75, 60%, 60%, 0, 1, [a]:0
ADD, 4.8, 0.5, 0.25, 5%, 65%, 0, 0, [b]:1

============================== Top by Computation Time ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 5, 4.75, 60%, 60%, 0, 1, [a]:0
"""


def read(tmp_path, text, name="block-1.txt"):
    (tmp_path / name).write_text(text)
    return read_benchmark_model(tmp_path / name)


def test_the_summary_gives_mean_spread_and_count(tmp_path):
    reading = read(tmp_path, SUMMARY)
    assert reading.value == pytest.approx(8.00025)
    assert reading.spread == pytest.approx(0.05 / math.sqrt(100))
    assert reading.count == 100
    assert reading.parts == ()
    assert reading.subject == "block-1.txt"


def test_the_output_of_two_runs_is_refused(tmp_path):
    message = r"block-1.txt holds 2 summaries 'Inference timings in us', in the lines 9, 19; keep"
    with pytest.raises(FormatError, match=message):
        read(tmp_path, SUMMARY + SUMMARY)


def test_operators_are_those_of_the_timed_runs_in_their_order(tmp_path):
    reading = read(tmp_path, SUMMARY + PROFILE)
    assert reading.value == pytest.approx(8.00025)
    assert reading.parts == (("CONV_2D", 4.8), ("DEPTHWISE_CONV_2D", 3.2))


def test_the_profile_alone_gives_its_sum(tmp_path):
    reading = read(tmp_path, CSV, "block-1.csv")
    assert reading.parts == (("CONV_2D", 4.75), ("ADD", 0.25))
    assert (reading.value, reading.count, reading.spread) == (5.0, 0, None)


CSV_HEAD = "node type, first, avg_ms, %, cdf%, mem KB, times called, name"
FUSED = (
    "CONV_2D, 1, 1.0, 20%, 20%, 0, 1, [a]:0",
    "TfLiteXNNPackDelegate, 4, 4.0, 80%, 100%, 0, 1, [out]:9",
)
INSIDE = (
    "Convolution (NHWC F32) IGEMM, 2.5, 2.5, 1%, 1%, 0, 1, Delegate/Conv:0",
    "Fully Connected, 1.2, 1.2, 1%, 1%, 0, 1, Delegate/FC:1",
)
FUSED_PARTS = (("CONV_2D", 1.0), ("TfLiteXNNPackDelegate", 4.0))


def table(*rows):
    return "\n".join([ORDER, CSV_HEAD, *rows, "", "Number of nodes executed: 2", ""])


def test_what_a_delegate_does_is_in_its_row_of_the_graph(tmp_path):
    text = f"{table(*FUSED)}\nDelegate internal: \n{table(*INSIDE)}"
    reading = read(tmp_path, text, "block-1.csv")
    assert (reading.value, reading.parts) == (5.0, FUSED_PARTS)


def test_a_delegates_operators_in_the_graphs_table_do_not_count_twice(tmp_path):
    old = [f"DelegateOpInvoke{row[row.index(', ') :]}" for row in INSIDE]
    reading = read(tmp_path, table(*FUSED, *old), "block-1.csv")
    assert (reading.value, reading.parts) == (5.0, FUSED_PARTS)


def test_other_subgraphs_are_in_the_row_that_calls_them(tmp_path):
    calls = table("WHILE, 5, 5.0, 100%, 100%, 0, 1, [a]:0")
    called = table("ADD, .1, .1, 1%, 1%, 0, 1, [x]:0")
    text = f"Primary graph profile:\n{calls}\nSubgraph (index: 1) profile:\n{called}"
    reading = read(tmp_path, text, "block-1.csv")
    assert (reading.value, reading.parts) == (5.0, (("WHILE", 5.0),))


def test_the_timed_runs_follow_a_delegate_of_the_initialisation(tmp_path):
    first = f"{table('Init, 9, 9.0, 1%, 1%, 0, 1, i')}\nDelegate internal: \n{table(*INSIDE)}"
    text = (
        f"Profiling Info for Benchmark Initialization:\n{first}\n"
        f"Operator-wise Profiling Info for Regular Benchmark Runs:\n{table(*FUSED)}"
    )
    assert read(tmp_path, text, "block-1.csv").parts == FUSED_PARTS


def test_a_delegates_table_alone_is_no_profile(tmp_path):
    with pytest.raises(FormatError, match="or a table 'Run Order' of the whole graph"):
        read(tmp_path, f"Delegate internal: \n{table(*INSIDE)}", "block-1.csv")


def test_one_run_has_no_spread(tmp_path):
    line = "Average inference timings in us: Warmup: 352, Init: 2491, no stats: 178"
    reading = read(tmp_path, f"count=1 curr=178\n{line}\n")
    assert (reading.value, reading.count, reading.spread) == (0.178, 1, None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Inference timings", "Times", "expected the output of benchmark_model"),
        ("(avg): 8000.25", "(avg): -8", r"Inference \(avg\) is -8 us; expected a positive"),
        ("(avg): 8000.25", "(avg): nan", r"Inference \(avg\) is nan us"),
        ("(avg): 8000.25", "(avg): 8e12", "longer than an hour"),
    ],
)
def test_a_wrong_summary_is_refused(tmp_path, old, new, message):
    assert old in SUMMARY
    with pytest.raises(FormatError, match=message):
        read(tmp_path, SUMMARY.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("avg_ms", "mean", "line 2: expected the columns 'node type' and 'avg ms'"),
        ("4.75", "-4.75", "line 3: avg ms is -4.75; expected a finite number"),
        (
            ", 0, 1, [a]:0\nADD",
            ", 0, nan, [a]:0\nADD",
            "line 3: times called is nan; expected a fin",
        ),
        ("4.75", "slow", "line 3: avg ms is 'slow'; expected a number"),
        (", 0, 0, [b]:1", "", "line 4: 6 columns; expected 9"),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path, old, new, message):
    assert old in CSV
    with pytest.raises(FormatError, match=message):
        read(tmp_path, CSV.replace(old, new))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match=r"a.txt cannot be read"):
        read_benchmark_model(tmp_path / "a.txt")
