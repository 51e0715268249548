import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moga.devices import fit
from moga.devices.fit import Times, fit_table, read_times
from moga.errors import FormatError, InvalidGenome, UsageError
from moga.networks.count import count_bytes, count_macs
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTable, slot_blocks
from moga.spaces.fbnet import FBNetSpace
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201, load_table

SPACE = FBNetSpace(resolution=32, num_classes=10)


def additive(space, rng, own=0.1):
    """A device whose blocks take time by work and traffic, and by something of their own."""
    known = {}

    def block_ms(block):
        if block not in known:
            work = 0.05 + count_macs(block) / 2e7 + count_bytes(block) / 1e7
            known[block] = work * (1 + own * rng.standard_normal())
        return known[block]

    arrays = []
    for slot in space.slots:
        array = np.zeros(slot.shape)
        for index, blocks in slot_blocks(slot):
            array[index] = sum(times * block_ms(block) for block, times in blocks)
        arrays.append(array)
    return CostTable("latency", "ms", space, tuple(arrays), constant=0.5)


def timed(n, *, noise=0.0, outliers=0.0, space=SPACE, seed=0):
    """Draw networks and their noisy times, and the true table."""
    rng = np.random.default_rng(seed)
    truth = additive(space, rng)
    genomes = sample_uniform(space.sizes, n, rng)
    ms = truth(genomes) * (1 + noise * rng.standard_normal(n))
    ms *= np.where(rng.random(n) < outliers, 1.5, 1.0)
    return Times(genomes, ms), truth


def mape(predicted, true):
    return 100 * np.mean(np.abs(predicted / true - 1))


@pytest.fixture(scope="module")
def noisy():
    times, truth = timed(150, noise=0.02)
    return fit_table(SPACE, times, device="toy", batch=4), times, truth


@pytest.fixture(scope="module")
def fresh():
    return sample_uniform(SPACE.sizes, 1000, np.random.default_rng(99))


def test_an_additive_device_is_recovered_from_exact_times(fresh):
    times, truth = timed(200)
    fitted = fit_table(SPACE, times)
    assert mape(fitted.table(fresh), truth(fresh)) < 0.1
    assert fitted.cv_mape < 0.2


def test_noise_is_averaged_out(noisy, fresh):
    fitted, _, truth = noisy
    assert mape(fitted.table(fresh), truth(fresh)) < 1.2  # a single timing is off by 1.6
    assert fitted.noise_ms == pytest.approx(0.02 * truth(fresh).mean(), rel=0.5)


def test_a_tenth_of_outliers_does_no_harm(fresh):
    times, truth = timed(200, noise=0.01, outliers=0.1)
    clean = [ms for ms, true in zip(times.ms, truth(times.genomes), strict=True) if ms < 1.2 * true]
    assert len(clean) < 190
    assert mape(fit_table(SPACE, times).table(fresh), truth(fresh)) < 1.2


def test_intervals_cover_90_percent_of_new_timings(fresh):
    rng = np.random.default_rng(5)
    shares = []
    for seed in range(3):
        times, truth = timed(60, noise=0.02, seed=seed)
        predicted, error = fit_table(SPACE, times).predict(fresh)
        new = truth(fresh) * (1 + 0.02 * rng.standard_normal(len(fresh)))
        shares.append(np.mean(np.abs(new - predicted) <= 1.645 * error))
    assert 0.85 <= np.mean(shares) <= 0.98


def test_predictions_are_the_tables_and_its_spread_is_as_large_on_average(noisy, fresh):
    fitted, _, _ = noisy
    predicted, error = fitted.predict(fresh)
    np.testing.assert_array_equal(predicted, fitted.table(fresh))
    own = fitted.table.standard_error(fresh)
    assert np.sqrt(np.mean(own**2)) == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.05)


def test_the_table_says_how_it_came_about(noisy, tmp_path):
    fitted, times, _ = noisy
    provenance = fitted.table.provenance
    assert (provenance["method"], provenance["device"]) == ("fitted", "toy")
    assert (provenance["networks"], provenance["batch"]) == (150, 4)
    assert provenance["cv_mape"] == fitted.cv_mape
    macs = [4 * sum(map(count_macs, SPACE.decode(genome))) for genome in times.genomes.tolist()]
    assert provenance["gmacs_per_s"] == pytest.approx(np.median(macs / times.ms) / 1e6)
    assert 0 < fitted.table.grid < provenance["standard_error_ms"]
    fitted.table.save(tmp_path / "t.npz")
    loaded = CostTable.load(tmp_path / "t.npz", SPACE)
    assert loaded.digest == fitted.table.digest


def test_genomes_of_the_same_network_take_the_same_time(noisy, fresh):
    table = noisy[0].table
    np.testing.assert_allclose(table(SPACE.canonical(fresh)), table(fresh), rtol=1e-12)


def test_the_same_times_give_the_same_table(noisy):
    fitted, times, _ = noisy
    assert fit_table(SPACE, times).table.digest == fitted.table.digest


def test_other_spaces_are_fitted_too():
    space = MoGASpace(resolution=32, width=0.35, num_classes=10)
    times, truth = timed(60, space=space)
    genomes = sample_uniform(space.sizes, 500, np.random.default_rng(9))
    flat = mape(np.full(500, times.ms.mean()), truth(genomes))
    assert mape(fit_table(space, times).table(genomes), truth(genomes)) < flat / 3


def test_what_cannot_be_fitted_is_refused():
    times, _ = timed(12)
    with pytest.raises(UsageError, match="9 networks are too few"):
        fit_table(SPACE, Times(times.genomes[:9], times.ms[:9]))
    with pytest.raises(UsageError, match="all networks take 3 ms"):
        fit_table(SPACE, Times(times.genomes, np.full(12, 3.0)))
    for wrong in (np.nan, np.inf, 0.0, -1.0):
        message = rf"the time of genome 11 is {wrong} ms; expected a finite time above 0"
        with pytest.raises(UsageError, match=message):
            Times(times.genomes, np.append(times.ms[1:], wrong))
    with pytest.raises(UsageError, match="the times are bool; expected numbers, in ms"):
        Times(times.genomes, np.ones(12, dtype=bool))
    with pytest.raises(UsageError, match="12 genomes, but times of shape"):
        Times(times.genomes, times.ms[:3])
    with pytest.raises(InvalidGenome, match="has 22 genes"):
        fit_table(SPACE, Times(times.genomes[:, :5], times.ms))


def steep(noise):
    """Times that fall by 1 ms a skip, so that they would end below 0."""
    rng = np.random.default_rng(0)
    genomes = sample_uniform(SPACE.sizes, 40, rng)
    ms = (genomes != 8).sum(axis=1) - 9 + noise * rng.standard_normal(40)
    return Times(genomes, np.maximum(ms, 1.0))


def test_no_network_takes_less_than_no_time(monkeypatch):
    times = steep(noise=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "_keep_positive", lambda *_: None)
        free = fit_table(SPACE, times).table
    assert free.bounds[0] < 0
    table = fit_table(SPACE, times).table
    assert 0 < table.bounds[0] <= 0.1001 * times.ms.min()
    assert mape(table(times.genomes), free(times.genomes)) < 10


def test_times_that_say_that_networks_take_no_time_are_refused():
    with pytest.raises(UsageError, match="some networks would take no time at all: 40 networks"):
        fit_table(SPACE, steep(noise=0.0))


def write(path, rows, header="genome,latency_ms"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def genome_text(genome):
    return " ".join(map(str, genome))


GENOMES = [[i % 9] * 22 for i in range(3)]


def test_times_are_read_from_csv_and_parquet(tmp_path):
    times, _ = timed(5)
    texts = [genome_text(g) for g in times.genomes]
    rows = [f"{t},{ms!r},x" for t, ms in zip(texts, times.ms.tolist(), strict=True)]
    csv = write(tmp_path / "t.csv", rows, "genome,latency_ms,remark")
    pq.write_table(pa.table({"genome": texts, "latency_ms": times.ms}), tmp_path / "t.parquet")
    for path in (csv, tmp_path / "t.parquet"):
        read = read_times(path, SPACE)
        np.testing.assert_array_equal(read.genomes, times.genomes)
        np.testing.assert_array_equal(read.ms, times.ms)
        assert read.source == str(path)


def test_true_is_no_time(tmp_path):
    texts = [genome_text(g) for g in GENOMES[:3]]
    table = pa.table({"genome": texts, "latency_ms": [True] * 3})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(FormatError, match="parquet, row 1: latency_ms is True; expected a numb"):
        read_times(tmp_path / "t.parquet", SPACE)


def test_genomes_may_be_lists_in_parquet(tmp_path):
    times, _ = timed(5)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"genome": times.genomes.tolist(), "latency_ms": times.ms}), path)
    read = read_times(path, SPACE)
    np.testing.assert_array_equal(read.genomes, times.genomes)
    np.testing.assert_array_equal(read.ms, times.ms)


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        ([1, 2, 3], "row 2: a genome of fbnet has 22 genes"),
        ([], "row 2: a genome of fbnet has 22 genes"),
        ([9] * 22, "row 2: gene 'layer_0' .* is 9"),
        ([None] + [0] * 21, r"row 2: genome is \[None, 0, .*\]; expected integers"),
        (None, "row 2: a genome of fbnet has 22 genes"),
        (GENOMES[0], "row 2: the network of row 1 again"),
    ],
)
def test_a_bad_list_is_named(tmp_path, genome, message):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"genome": [GENOMES[0], genome], "latency_ms": [5.0, 6.0]}), path)
    with pytest.raises(FormatError, match=message):
        read_times(path, SPACE)


def test_lists_of_no_integers_are_named(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"genome": [[0.5] * 22], "latency_ms": [5.0]}), path)
    with pytest.raises(FormatError, match=r"row 1: genome is \[0.5, .*expected integers"):
        read_times(path, SPACE)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("batch", ("1", "8", "1"), "line 3: batch is 8; expected 1, .*say it with --batch"),
        ("unit", ("ms", "us", "ms"), "line 3: unit is 'us'; expected 'ms'"),
        ("of", ("image", "batch", ""), "line 2: of is 'image'; expected 'batch'"),
        ("batch", ("1", "x", "1"), "line 3: batch is 'x'; expected a number"),
        ("precision", ("fp16", "nonsense", "fp16"), "line 3: precision is 'nonsense'; expected on"),
        ("precision", ("fp16", "fp16", "fp32"), "line 4: precision is 'fp32'; expected 'fp16'"),
        ("device", ("a", "", "a"), "line 3: device is ''; expected 'a'"),
    ],
)
def test_times_of_another_kind_are_refused(tmp_path, column, values, message):
    rows = [
        f"{genome_text(g)},{5 + i},{v}"
        for i, (g, v) in enumerate(zip(GENOMES, values, strict=True))
    ]
    path = write(tmp_path / "t.csv", rows, f"genome,latency_ms,{column}")
    with pytest.raises(FormatError, match=message):
        read_times(path, SPACE)


def test_a_batch_that_is_said_is_read(tmp_path):
    rows = [f"{genome_text(g)},{5 + i},8" for i, g in enumerate(GENOMES)]
    path = write(tmp_path / "t.csv", rows, "genome,latency_ms,batch")
    assert len(read_times(path, SPACE, 8).ms) == len(GENOMES)


def test_times_that_are_all_too_short_for_any_device_are_refused(tmp_path):
    times, _ = timed(20)
    macs = np.array([sum(map(count_macs, SPACE.decode(g))) for g in times.genomes.tolist()])

    def read(gmacs_per_s):
        ms = 1000 * macs / 1e6 / gmacs_per_s
        return read_times(write_timed(tmp_path / "t.csv", times.genomes, ms), SPACE, batch=1000)

    assert len(read(0.99e7).ms) == 20
    message = (
        r"line 2: .* ms for a network would be 1e\+16 multiply-adds a second, more than any dev"
    )
    with pytest.raises(FormatError, match=message):
        read(1.01e7)
    with pytest.raises(
        FormatError, match=r"line 2: latency_ms is .* ms, shorter than a nanosecond"
    ):
        read(1e300)


def test_what_the_times_say_of_themselves_goes_into_the_table(tmp_path):
    times, _ = timed(12)
    rows = [
        f"{genome_text(g)},{ms!r},8.0,{precision},phone"
        for g, ms, precision in zip(
            times.genomes, times.ms.tolist(), ["FP16", "half"] * 6, strict=True
        )
    ]
    path = write(tmp_path / "t.csv", rows, "genome,latency_ms,batch,precision,device")
    read = read_times(path, SPACE, 8)
    assert (read.precision, read.device) == ("fp16", "phone")
    provenance = fit_table(SPACE, read, batch=8).table.provenance
    assert (provenance["precision"], provenance["device"]) == ("fp16", "phone")
    assert fit_table(SPACE, read, device="mine").table.provenance["device"] == "mine"
    assert fit_table(SPACE, times).table.provenance["precision"] == "not stated"


def test_a_batch_may_be_a_float_in_parquet(tmp_path):
    columns = {"genome": [genome_text(g) for g in GENOMES], "latency_ms": [5.0, 6.0, 7.0]}
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({**columns, "batch": [8.0, None, 8.0]}), path)
    assert len(read_times(path, SPACE, 8).ms) == len(GENOMES)


def test_networks_are_read_from_their_json(tmp_path):
    genomes = SPACE.canonical(np.array(GENOMES))
    for number, genome in enumerate(genomes):
        SPACE.decode(genome).save(tmp_path / f"{number}.json")
    path = write(tmp_path / "t.csv", ["0.json,5", "1.json,6", "2.json,7"], "network,latency_ms")
    np.testing.assert_array_equal(read_times(path, SPACE).genomes, genomes)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-1", "line 3: latency_ms is -1 ms; expected a positive, finite time"),
        ("0", "line 3: latency_ms is 0 ms; expected a positive"),
        ("nan", "line 3: latency_ms is nan ms; expected a positive"),
        ("inf", "line 3: latency_ms is inf ms; expected a positive"),
        ("5e-324", "line 3: latency_ms is 5e-324 ms, shorter than a nanosecond or longer than an"),
        ("1e300", "line 3: latency_ms is 1e300 ms, shorter than a nanosecond or longer than an h"),
        ("fast", "line 3: latency_ms is 'fast'; expected a number"),
        ("", "line 3: latency_ms is ''; expected a number"),
        ("7000", "line 3: 7000 ms, where by the other networks one with as much work takes about"),
        ("0.001", "line 3: 0.001 ms, .*; 1 of 3 times are so far off. Are they in another unit"),
    ],
)
def test_a_bad_time_is_named(tmp_path, value, message):
    first, second, third = (genome_text(g) for g in GENOMES)
    path = write(tmp_path / "t.csv", [f"{first},6", f"{second},{value}", f"{third},7"])
    with pytest.raises(FormatError, match=message):
        read_times(path, SPACE)


def write_timed(path, genomes, ms):
    pairs = zip(genomes, ms.tolist(), strict=True)
    return write(path, [f"{genome_text(genome)},{time!r}" for genome, time in pairs])


@pytest.mark.parametrize("factor", [1e3, 1e-3, 1e-6])
@pytest.mark.parametrize("rows", [1, 12, 40, 57])
def test_units_that_are_mixed_unsaid_are_refused(tmp_path, factor, rows):
    times, _ = timed(126, noise=0.1)
    ms = times.ms.copy()
    wrong = np.sort(np.random.default_rng(1).permutation(126)[:rows])
    ms[wrong] *= factor
    path = write_timed(tmp_path / "t.csv", times.genomes, ms)
    message = rf"line {wrong[0] + 2}: .* takes about .* ms; {rows} of 126 times are so far off"
    with pytest.raises(FormatError, match=message):
        read_times(path, SPACE)
    path = write_timed(tmp_path / "t.csv", times.genomes, times.ms)
    assert len(read_times(path, SPACE).ms) == 126


@pytest.mark.parametrize("device", ["pixel3", "raspi4", "samsung_a50", "titanx_256"])
def test_times_that_were_measured_are_read(tmp_path, device):
    space = NASBench201()
    genomes = sample_uniform(space.sizes, 300, np.random.default_rng(0))
    genomes[0] = 0  # no cell has a path, so that two of the devices take some microseconds
    genomes = np.unique(genomes, axis=0)
    ms = load_table()[f"lat_ms_{device}"][space.index(genomes)]
    assert (ms.max() / ms.min() > 1000) == (device in ("pixel3", "raspi4"))
    path = write_timed(tmp_path / "t.csv", genomes, ms)
    np.testing.assert_array_equal(read_times(path, space).ms, ms)
    ms = ms.copy()
    ms[0] = 1000 * np.median(ms)  # without a path a network may be fast, not slow
    with pytest.raises(FormatError, match=r"line 2: .* 1 of .* times are so far off"):
        read_times(write_timed(path, genomes, ms), space)


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        ("1 2 3", "line 3: a genome of fbnet has 22 genes"),
        (genome_text([9] * 22), "line 3: gene 'layer_0' .* is 9"),
        ("a b", "line 3: genome is 'a b'; expected integers separated by spaces"),
        (genome_text(GENOMES[0]), "line 3: the network of line 2 again"),
    ],
)
def test_a_bad_genome_is_named(tmp_path, genome, message):
    path = write(tmp_path / "t.csv", [f"{genome_text(GENOMES[0])},6", f"{genome},7"])
    with pytest.raises(FormatError, match=message):
        read_times(path, SPACE)


def test_the_same_network_by_another_genome_is_a_duplicate(tmp_path):
    first, second = [0] * 22, [0] * 22
    first[2], second[3] = 8, 8
    path = write(tmp_path / "t.csv", [f"{genome_text(first)},6", f"{genome_text(second)},7"])
    with pytest.raises(FormatError, match="line 3: the network of line 2 again"):
        read_times(path, SPACE)


def test_a_network_of_another_space_is_named(tmp_path):
    MoGASpace().decode([0] * 14).save(tmp_path / "other.json")
    path = write(tmp_path / "t.csv", ["other.json,5"], "network,latency_ms")
    with pytest.raises(FormatError, match="line 2: block 0 of the network does not fit"):
        read_times(path, SPACE)
    path = write(tmp_path / "t.csv", ["none.json,5"], "network,latency_ms")
    with pytest.raises(FormatError, match=r"line 2: .*No such file"):
        read_times(path, SPACE)


@pytest.mark.parametrize("header", ["genome,latency_us", "latency_ms,x", "a,genome"])
def test_missing_columns_are_named(tmp_path, header):
    path = write(tmp_path / "t.csv", ["1,2"], header)
    with pytest.raises(FormatError, match=r"has the columns .*; expected latency_ms"):
        read_times(path, SPACE)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FormatError, match=r"none\.csv is no CSV file"):
        read_times(tmp_path / "none.csv", SPACE)
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(FormatError, match=r"bad\.parquet is no Parquet file"):
        read_times(tmp_path / "bad.parquet", SPACE)
    with pytest.raises(FormatError, match="has no rows; expected a header"):
        read_times(write(tmp_path / "empty.csv", []), SPACE)
    text = genome_text(GENOMES[0])
    pq.write_table(pa.table({"genome": [text], "latency_ms": [-1.0]}), tmp_path / "t.parquet")
    with pytest.raises(FormatError, match=r"t\.parquet, row 1: latency_ms is -1"):
        read_times(tmp_path / "t.parquet", SPACE)
