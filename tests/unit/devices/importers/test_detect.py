import json

import pytest

from moga.devices.importers.detect import read_timings
from moga.errors import FormatError, UsageError

LOG = "count=4 first=9 avg=8 std=1\n\nInference timings in us: Inference (avg): 8\n"
ORDER = "============================== Run Order ==============================\n"
PROFILE = ORDER + "node type, first, avg_ms, times called, name\nADD, 3, 2.5, 1, [b]:1\n"
FILES = {
    "a.csv": "block,ms\nx,1\ny,2\n",
    "b.csv": PROFILE,
    "c.json": json.dumps([{"computeMs": 3.0, "latencyMs": 4.0}]),
    "d.json": json.dumps([{"count": 5}, {"name": "l", "averageMs": 5.0}]),
    "e.json": json.dumps([{"name": "model_run", "dur": 9}, {"name": "model_run", "dur": 6000}]),
    "f.txt": LOG,
    "g.log": LOG,
}


def test_a_folder_of_all_kinds_is_read_in_order(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for name in ("x.onnx", ".hidden", "manifest.json"):
        (tmp_path / name).write_text("no times")
    (tmp_path / "folder").mkdir()
    readings = read_timings(tmp_path, ("manifest.json",))
    assert [r.value for r in readings] == pytest.approx([1, 2, 2.5, 3, 5, 6, 0.008, 0.008])


def test_a_file_is_read(tmp_path):
    (tmp_path / "a.csv").write_text(FILES["a.csv"])
    assert [reading.subject for reading in read_timings(tmp_path / "a.csv")] == ["x", "y"]


def test_what_holds_no_times_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"gone does not exist; give a file of times"):
        read_timings(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"holds no times; put files of .csv"):
        read_timings(tmp_path)
    (tmp_path / "a.json").write_text('[{"colour": 1}]')
    with pytest.raises(FormatError, match=r"a.json: expected times or a profile of trtexec"):
        read_timings(tmp_path)
    (tmp_path / "a.json").write_text('{"a": 1}')
    with pytest.raises(FormatError, match=r"a.json: expected times or a profile of trtexec"):
        read_timings(tmp_path)
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(FormatError, match=r"a.xlsx: expected a file of times, one of .csv"):
        read_timings(tmp_path)


def test_times_of_an_image_say_the_batch_where_the_caller_does_not(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("block,latency,unit,of,batch\nx,1,ms,image,8\ny,2,ms,image,\nz,3,ms,batch,\n")
    message = r"a.csv, line 3: the time of an image, but nothing says how many images a batch has"
    with pytest.raises(FormatError, match=message):
        read_timings(path, batch_known=False)
    assert [r.value for r in read_timings(path, batch_known=True)] == [1, 2, 3]
    path.write_text("block,latency,unit,of,batch\nx,1,ms,image,8\nz,3,ms,batch,\n")
    assert [r.value for r in read_timings(path, batch_known=False)] == [1, 3]
