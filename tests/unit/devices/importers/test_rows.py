import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moga.devices.importers.rows import read_rows
from moga.errors import FormatError


def write(tmp_path, *lines, name="times.csv"):
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


FULL = "block,latency,unit,of,batch,precision,device,spread,count,note"


def test_every_column_is_read(tmp_path):
    path = write(tmp_path, FULL, "block-a.onnx,50,us,image,64,float16,pixel,1,30,outdoors")
    (reading,) = read_rows(path)
    assert (reading.subject, reading.kind) == ("block-a.onnx", "block")
    assert reading.value == pytest.approx(0.05)
    assert reading.per_image
    assert reading.spread == pytest.approx(0.001)
    assert (reading.count, reading.batch) == (30, 64)
    assert (reading.precision, reading.device) == ("fp16", "pixel")
    assert reading.where == f"{path}, line 2"


@pytest.mark.parametrize("column", ["ms", "latency_ms"])
@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("file", "block"),
        ("digest", "block"),
        ("network", "network"),
        ("genome", "genome"),
    ],
)
def test_milliseconds_a_batch_need_no_more_columns(tmp_path, column, subject, kind):
    (reading,) = read_rows(write(tmp_path, f"{subject},{column}", "0 1 2,3.5"))
    assert (reading.subject, reading.kind, reading.value) == ("0 1 2", kind, 3.5)
    assert not reading.per_image
    assert (reading.spread, reading.count, reading.batch) == (None, 0, None)


def test_a_networks_file_lies_beside_the_table(tmp_path):
    first, second = read_rows(write(tmp_path, "network,ms", "nets/a.json,1", "moga_a,2"))
    assert first.subject == str(tmp_path / "nets" / "a.json")
    assert second.subject == "moga_a"


def test_json_in_quotes_and_lines_are_counted(tmp_path):
    path = write(tmp_path, "block,ms", '"{""operation"": ""pool""}",1', "b,2")
    first, second = read_rows(path)
    assert first.subject == '{"operation": "pool"}'
    assert second.where.endswith("line 3")


def test_parquet_is_read(tmp_path):
    path = tmp_path / "times.parquet"
    columns = {"genome": [[0, 1], [2, 3]], "latency": [1.5, 2.5], "unit": ["s", "s"]}
    pq.write_table(pa.table({**columns, "of": ["batch", "image"], "count": [None, 5]}), path)
    first, second = read_rows(path)
    assert (first.subject, first.value, first.count) == ("0 1", 1500.0, 0)
    assert (second.subject, second.per_image, second.count) == ("2 3", True, 5)
    assert second.where == f"{path}, row 2"


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("block,ms", "a,-0.02", r"times.csv, line 2: latency is -0.02 ms; expected a positive"),
        ("block,ms", "a,0", "expected a positive, finite time"),
        ("block,ms", "a,nan", "expected a positive, finite time"),
        ("block,ms", "a,", "latency is ''; expected a number"),
        ("block,ms", "a,1e8", "longer than an hour; is the unit right"),
        ("block,ms", ",1", "nothing says what was timed"),
        ("block,genome,ms", "a,0 1,1", "block, genome says what was timed; expected one of"),
        ("block,ms", "a", "line 2: 1 values; expected 2, as in the header"),
        ("block,ms", "a,1,2", "line 2: 3 values; expected 2, as in the header"),
        ("block,ms, ms", "a,1,2", "times.csv has more than one column 'ms'; keep the one that is"),
        ("block,ms,untis", "a,1,ms", "unknown columns: untis; known: block"),
        ("ms", "1", "does not say what was timed; give block"),
        ("block,ms,latency", "a,1,1", "give the column latency_ms, or latency with unit and of"),
        ("block,latency", "a,1", "has a column latency, but none called 'unit' or 'of', to say"),
        ("block,latency,unit", "a,1,ms", "has a column latency, but none called 'of', to say"),
        ("block,latency,unit,of", "a,1,min,batch", "the unit is 'min'; expected one of s, ms"),
        ("block,latency_ms,unit", "a,1,us", "line 2: unit is 'us'; expected 'ms', for latency_ms"),
        (
            "block,latency_ms,of",
            "a,1,image",
            "line 2: of is 'image'; expected 'batch', for latency",
        ),
        (
            "block,ms,unit,of",
            "a,1,parsec,banana",
            "line 2: unit is 'parsec'; expected 'ms', for ms",
        ),
        (
            "block,ms,of",
            "a,1,banana",
            "line 2: of is 'banana'; expected 'batch', for ms is in ms a",
        ),
        ("block,latency,unit,of", "a,1,ms,second", "of is 'second'; expected batch or image"),
        ("block,ms,batch", "a,1,0", "batch is 0; expected an integer of 1 or more"),
        ("block,ms,batch", "a,1,many", "batch is 'many'; expected a number"),
        ("block,ms,count", "a,1,2.5", "count is 2.5; expected an integer of 1 or more"),
        ("block,ms,precision", "a,1,fp12", "precision is 'fp12'; expected one of fp32, tf32"),
        ("block,ms,spread", "a,1,-1", "spread is -1; expected a finite number, 0 or more"),
        ("block,ms,spread", "a,1,1.5", "spread is 1.5, more than the latency itself"),
        ("block,colour", "a,red", "the columns block, colour hold no times that moga knows"),
        ("description,median", "a,-1e-3", "median is -1e-3 s; expected a positive"),
        ("note,median", "a,1e-3", "expected a label, sub_label or description"),
        ("label,median,iqr,count", "a,1e-3,-1,9", "iqr is -1; expected a finite number"),
        (
            "label,median,unit",
            "a,1e-3,ms",
            "line 2: unit is 'ms'; expected 's', for median is in s",
        ),
        (
            "label,mean,of",
            "a,1e-3,image",
            "line 2: of is 'image'; expected 'batch', for mean is in",
        ),
        ("label,median,batch", "a,1e-3,0", "line 2: batch is 0; expected an integer of 1 or more"),
        ("label,median,precision", "a,1e-3,fp12", "line 2: precision is 'fp12'; expected one of"),
        ("model,infer_step_time,unit", "a,1,s", "line 2: unit is 's'; expected 'ms', for infer_st"),
        ("model,step_time,batch,batch_size", "a,1,8,4", "batch is 8, but batch_size is 4; keep"),
        ("model,infer_step_time", "a,0", "infer_step_time is 0 ms; expected a positive"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, header, row, message):
    with pytest.raises(FormatError, match=message):
        read_rows(write(tmp_path, header, row))


def test_one_wrong_row_refuses_the_file(tmp_path):
    with pytest.raises(FormatError, match="line 4"):
        read_rows(write(tmp_path, "block,ms", "a,1", "b,2", "c,-3", "d,4"))


def test_the_table_of_proxylessnas_is_known_and_how_it_is_used(tmp_path):
    path = write(tmp_path, "op,count,mean_ms,var_ms2", "Conv-input:224x224x3,949,4.4,0.16")
    message = (
        r"is ProxylessNAS's table of a Pixel phone.*match_shapes\(pixel_blocks\(\), unique_blo"
    )
    with pytest.raises(FormatError, match=message):
        read_rows(path)


def test_units_of_a_file_must_agree(tmp_path):
    path = write(tmp_path, "digest,latency,unit,of", "a,1,ms,batch", "b,1,us,batch")
    with pytest.raises(
        FormatError, match="line 3: the unit is 'us', in line 2 it is 'ms'; give all times"
    ):
        read_rows(path)


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(FormatError, match="has no rows"):
        read_rows(write(tmp_path, "block,ms"))
    with pytest.raises(FormatError, match=r"gone.csv is no CSV file"):
        read_rows(tmp_path / "gone.csv")
    with pytest.raises(FormatError, match=r"t.parquet is no Parquet file"):
        read_rows(write(tmp_path, "block,ms", name="t.parquet"))


def test_an_exact_time_has_spread_0(tmp_path):
    (reading,) = read_rows(write(tmp_path, "block,ms,spread", "a,1,0"))
    assert reading.spread == 0.0


def test_timm_results_are_read(tmp_path):
    header = "model,infer_samples_per_sec,infer_step_time,infer_batch_size,infer_img_size"
    path = write(tmp_path, f"{header},infer_gmacs,param_count", "moga_a,5000,51.2,256,224,0.3,5.1")
    (reading,) = read_rows(path)
    assert (reading.subject, reading.kind) == ("moga_a", "network")
    assert (reading.value, reading.batch, reading.per_image) == (51.2, 256, False)


@pytest.mark.parametrize("prefix", ["infer_", ""])
def test_timm_results_must_be_of_the_networks_image(tmp_path, prefix):
    header = f"model,{prefix}step_time,{prefix}img_size"
    message = rf"line 2: {prefix}img_size is 320, but moga_a takes images of 224 pixels; expected a"
    with pytest.raises(FormatError, match=message):
        read_rows(write(tmp_path, header, "moga_a,51.2,320"))
    (right,) = read_rows(write(tmp_path, header, "moga_a,51.2,224.0"))
    (unknown,) = read_rows(write(tmp_path, header, "network-0123,51.2,320"))
    assert right.value == unknown.value == 51.2


def test_milliseconds_a_batch_may_be_said_once_more(tmp_path):
    path = write(tmp_path, "block,ms,unit,of", "a,1,ms,batch", "b,2,ms,")
    assert [reading.value for reading in read_rows(path)] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("description,median,unit,of,batch,precision,device", "a,1e-3,s,batch,64.0,FP16,phone"),
        ("model,step_time,unit,of,batch_size,precision,device", "a,1,ms,batch,64,half,phone"),
    ],
)
def test_other_tables_may_say_how_they_were_taken(tmp_path, header, row):
    (reading,) = read_rows(write(tmp_path, header, row))
    assert (reading.batch, reading.precision, reading.device) == (64, "fp16", "phone")
    assert reading.value == 1.0


def test_torch_measurements_are_read(tmp_path):
    header = "label,sub_label,description,num_threads,number_per_run,count,mean,median,iqr"
    path = write(tmp_path, header, "blocks,block-a,fp32,1,100,25,2.1e-3,2e-3,4e-5")
    (reading,) = read_rows(path)
    assert reading.subject == "blocks block-a fp32"
    assert reading.value == pytest.approx(2.0)
    assert reading.spread == pytest.approx(1.2533 * 0.04 / 1.349 / math.sqrt(25))
    (mean,) = read_rows(write(tmp_path, "description,mean", "block-a,3e-3"))
    assert (mean.value, mean.spread) == (3.0, None)
