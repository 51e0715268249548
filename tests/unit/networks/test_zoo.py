import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch

from moga.errors import FormatError, UnknownName, UsageError
from moga.network import Network
from moga.networks import zoo
from moga.networks.build import save_weights
from moga.networks.count import count_macs, count_params
from moga.registry import create

GOLDEN = {
    "moga_a": (5159802, 304042176),
    "moga_b": (5506236, 248634720),
    "moga_c": (5488200, 221089920),
    "genet_light": (8173761, 547222656),
    "genet_normal": (21142920, 2208073216),
    "genet_large": (31078280, 4557041664),
    "gpunet_0": (11885432, 3254209280),
    "gpunet_1": (12704192, 3308369280),
    "gpunet_2": (25798704, 8386275920),
    "gpunet_d1": (10589859, 4289640427),
    "gpunet_d2": (19036728, 15739476160),
    "efficientnet_x_b0_gpu": (7584104, 920421088),
    "efficientnet_x_b1_gpu": (10419068, 1592590848),
    "efficientnet_x_b2_gpu": (10753924, 2530040728),
    "efficientnet_x_b3_gpu": (16807232, 4262041792),
    "efficientnet_x_b0_tpu": (7584104, 920421088),
    "efficientnet_x_b1_tpu": (10419068, 1592590848),
    "efficientnet_x_b2_tpu": (11493130, 2697179808),
    "efficientnet_x_b3_tpu": (15768856, 4206825696),
    "efficientnet_x_b0_original": (7584104, 920421088),
    "efficientnet_x_b1_original": (9571024, 1606191824),
    "efficientnet_x_b2_original": (9974470, 2306854656),
    "efficientnet_x_b3_original": (13293970, 4333620800),
}
"""Parameters and MACs as counted from the authors' classes, one of them by timm."""

RESIZED = {
    ("genet_light", 224): (8173761, 744137504),
    ("genet_normal", 224): (21142920, 3004508544),
}

WIDTHS = {
    "efficientnet_x_b4_gpu": ([56, 24, 40, 64, 128, 184, 312, 520, 2088], [3, 5, 5, 8, 8, 10, 3]),
    "efficientnet_x_b7_gpu": (
        [80, 40, 64, 104, 208, 288, 496, 824, 3304],
        [6, 11, 11, 17, 17, 22, 6],
    ),
    "efficientnet_x_b5_tpu": ([64, 32, 48, 80, 160, 216, 376, 624, 2512], [3, 6, 6, 9, 9, 12, 3]),
    "efficientnet_x_b7_tpu": (
        [104, 56, 80, 128, 264, 368, 624, 1040, 4176],
        [4, 7, 7, 11, 11, 14, 4],
    ),
    "efficientnet_x_b6_original": (
        [56, 32, 40, 72, 144, 200, 344, 576, 2304],
        [3, 6, 6, 8, 8, 11, 3],
    ),
}
"""Stem, stages and head; and repeats: the rounded widths of the released code."""

SMALL = ("moga_a", "genet_light", "gpunet_0", "gpunet_d1", "efficientnet_x_b0_gpu", "mobilenetv2")
LARGE = tuple(name for name in zoo.names() if name not in SMALL)


@pytest.mark.golden
@pytest.mark.parametrize("name", GOLDEN)
def test_counted_from_blocks_as_published_by_the_code(name: str) -> None:
    network = zoo.network(name)
    assert (count_params(network), count_macs(network)) == GOLDEN[name]


@pytest.mark.golden
@pytest.mark.parametrize(("name", "resolution"), RESIZED)
def test_counts_at_another_resolution(name: str, resolution: int) -> None:
    network = zoo.network(name, resolution=resolution)
    assert (count_params(network), count_macs(network)) == RESIZED[name, resolution]


@pytest.mark.golden
@pytest.mark.parametrize("name", WIDTHS)
def test_widths_and_repeats_of_efficientnet_x(name: str) -> None:
    widths, repeats = WIDTHS[name]
    blocks = zoo.network(name).blocks
    assert [blocks[0].out_channels, blocks[-2].out_channels] == [widths[0], widths[-1]]
    assert blocks[1].out_channels == 4 * widths[0]
    body = [block.out_channels for block in blocks[2:-3]]
    stages = [4 * widths[1], *widths[2:-1]]
    expected = [w for w, times in zip(stages, repeats, strict=True) for _ in range(times)]
    assert body == expected


@pytest.mark.golden
@pytest.mark.parametrize("name", zoo.names())
def test_the_stored_integers_are_what_blocks_count(name: str) -> None:
    entry, network = zoo.published(name), zoo.network(name)
    assert (entry.params, entry.macs) == (count_params(network), count_macs(network))
    assert network.input_shape == (3, entry.resolution, entry.resolution)
    assert Network.from_json(network.to_json()) == network


def test_every_published_network_is_there() -> None:
    names = zoo.names()
    assert len(names) == len(set(names)) == 3 + 23 + 5 + 26 + 8 + 2
    assert {f"genet_net{i}" for i in range(1, 21)} <= set(names)
    assert zoo.names("gpunet") == ("gpunet_0", "gpunet_1", "gpunet_2", "gpunet_d1", "gpunet_d2")
    baselines = ("mobilenetv2", "mobilenetv3_large", *(f"efficientnet_b{i}" for i in range(8)))
    assert set(zoo.names("")) == set(baselines)
    assert zoo.names("nasbench201") == ()


def test_moga_is_what_its_space_decodes() -> None:
    space = create("space", "moga")
    for name in zoo.names("moga"):
        genome = zoo.published(name).architecture
        assert space.decode(genome) == zoo.network(name)
        assert space.encode(zoo.network(name)) == tuple(genome)


@pytest.mark.parametrize("name", SMALL)
def test_the_built_module_agrees(name: str) -> None:
    _check_built(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_every_built_module_agrees(name: str) -> None:
    _check_built(name)


def _check_built(name: str) -> None:
    """Parameters and multiply-adds of the module itself, watched while it runs on "meta"."""
    network = zoo.network(name)
    with torch.device("meta"):
        model = zoo.create_model(network).eval()
        seen = _watch_macs(model)
        out = model(torch.zeros(1, *network.input_shape))
    assert out.shape == (1, 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == count_params(network)
    assert sum(seen) == count_macs(network)


def _watch_macs(model: torch.nn.Module) -> list[int]:
    seen: list[int] = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(
                lambda layer, _, out: seen.append(out.numel() * layer.weight[0].numel())
            )
    return seen


def test_the_paper_s_rules_that_are_easy_to_get_wrong() -> None:
    gpunet = zoo.network("gpunet_2").blocks
    fused = [block for block in gpunet if block.operation == "fused_mbconv"]
    assert [(b.stride, b.padding) for b in fused] == [
        (2, "zero"),
        (2, "zero"),
        (1, "symmetric"),
        (1, "symmetric"),
    ]
    assert {b.shortcut for b in gpunet if b.operation == "conv"} == {"none"}
    assert {b.norm_eps for b in gpunet if b.norm_eps} == {1e-3}
    distilled = zoo.network("gpunet_d1").blocks
    assert {b.norm_eps for b in distilled if b.norm_eps} == {1e-5}
    assert [b.out_channels for b in distilled[-4:]] == [1152, 1152, 1984, 1000]
    stages = zoo.network("efficientnet_x_b0_tpu").blocks
    assert (stages[1].kernel, stages[1].stride, stages[1].out_channels) == (2, 2, 128)
    assert (stages[2].kernel, stages[2].se_channels, stages[2].out_channels) == (2, 32, 64)
    assert (stages[3].stride, stages[3].hidden_channels, stages[3].se_channels) == (1, 96, 16)
    light = zoo.network("genet_light").blocks
    assert [b.shortcut for b in light if b.operation == "xx"] == [
        *("conv", "conv", "identity", "identity"),
    ]
    dw = next(block for block in light if block.operation == "dw")
    assert dw.hidden_channels == 3 * dw.out_channels


def test_the_table_shows_counts_beside_what_is_published() -> None:
    rows = {row["name"]: row for row in zoo.table()}
    assert tuple(rows) == zoo.names()
    assert json.loads(json.dumps(zoo.table())) == zoo.table()
    row = rows["gpunet_d1"]
    assert (row["params"], row["macs"]) == GOLDEN["gpunet_d1"]
    assert (row["published_macs_m"], row["macs_difference_percent"]) == (3660, -14.68)
    assert "no resolution explains it" in row["notes"][0]
    assert rows["efficientnet_x_b4_gpu"]["published_params_m"] is None
    assert rows["efficientnet_x_b4_gpu"]["params_difference_percent"] is None


def test_where_figures_differ_by_more_than_a_percent_a_note_says_so() -> None:
    for row in zoo.table():
        for metric in ("params", "macs"):
            if abs(row[f"{metric}_difference_percent"] or 0) > 1:
                truncated = row["family"] == "moga" and metric == "params"
                assert row["notes"] or truncated, row["name"]


def test_published_figures_have_a_source() -> None:
    entry = zoo.published("efficientnet_x_b2_original")
    assert entry.figures["params_m"] == 10
    assert "Wang et al. 2022" in entry.source
    assert zoo.published("moga_b").figures["top1"] == 75.5
    assert all(zoo.published(name).source for name in zoo.names())


def test_unknown_names_are_told_the_near_ones() -> None:
    expected = "unknown network 'moga_d'. Did you mean 'moga_"
    for ask in (zoo.network, zoo.published, zoo.create_model):
        with pytest.raises(UnknownName, match=expected):
            ask("moga_d")


@pytest.mark.parametrize("classes", [0, -1, 2.5])
def test_a_class_count_below_one_is_refused(classes: Any) -> None:
    message = f"num_classes is {classes}; give an integer of 1 or more"
    with pytest.raises(UsageError, match=message):
        zoo.network("moga_a", num_classes=classes)
    with pytest.raises(UsageError, match=message):
        zoo.create_model("moga_a", num_classes=classes)


def test_create_model_by_name_path_and_network(tmp_path: Path) -> None:
    network = zoo.network("mobilenetv2", resolution=64, num_classes=7)
    network.save(tmp_path / "found.json")
    x = torch.randn(2, 3, 64, 64)
    for which in (network, tmp_path / "found.json", str(tmp_path / "found.json")):
        assert zoo.create_model(which).eval()(x).shape == (2, 7)
    model: Any = zoo.create_model("moga_a", num_classes=3, resolution=96, in_channels=1)
    assert model.network == zoo.create_model(model.network).network
    assert model.network.input_shape == (1, 96, 96)
    assert model.eval()(torch.randn(2, 1, 96, 96)).shape == (2, 3)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.json does not exist; give a network's JSON"):
        zoo.create_model(tmp_path / "absent.json")
    with pytest.raises(UsageError, match=r"absent\.json does not exist; give a network's JSON"):
        zoo.create_model("absent.json")
    with pytest.raises(UsageError, match=r"weights: .*none does not exist; give a safetensors"):
        zoo.create_model("moga_a", weights=tmp_path / "none")


def test_weights_come_back(tmp_path: Path) -> None:
    first = zoo.create_model("genet_net10", num_classes=4).eval()
    save_weights(first, tmp_path / "w.safetensors")
    second = zoo.create_model("genet_net10", num_classes=4, weights=tmp_path / "w.safetensors")
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(second.eval()(x), first(x))
    backbone = zoo.create_model(
        "genet_net10", features_only=True, weights=tmp_path / "w.safetensors"
    ).eval()
    torch.testing.assert_close(
        backbone(x)[-1],
        torch.nn.Sequential(*list(first.blocks)[:-3])(x),  # type: ignore[arg-type]
    )
    with pytest.raises(FormatError, match="does not hold this network's weights"):
        zoo.create_model("moga_a", weights=tmp_path / "w.safetensors")
    with pytest.raises(FormatError, match="does not hold this network's weights"):
        zoo.create_model("moga_a", features_only=True, weights=tmp_path / "w.safetensors")


def _family(**changes: Any) -> str:
    path = resources.files("moga").joinpath("networks/published/moga.json")
    return json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes})


def test_a_family_s_file_is_checked() -> None:
    assert [entry.name for entry in zoo.read_family(_family())] == ["moga_a", "moga_b", "moga_c"]
    network = json.loads(_family())["networks"][0]
    for text, message in (
        ("{", "the text is no JSON"),
        ("[]", 'expected a JSON object with "format": "moga-published"'),
        (_family(format="other"), 'expected a JSON object with "format": "moga-published"'),
        (_family(version=2), "the text has format version 2; this moga reads 1"),
        (_family(colour="red"), r"unknown fields \['colour'\]; known: format, version, family"),
        (_family(family="vgg"), "family 'vgg'; known: moga, genet"),
        (_family(networks=[{**network, "size": 1}]), r"network 'MoGA-A' has unknown fields"),
        (_family(networks=[{**network, "architecture": {}}]), "exactly one of"),
        (_family(networks=[{"genome": []}]), r"lacks the fields \['name', 'resolution'"),
        (_family(networks=[3]), "a network needs exactly one of"),
    ):
        with pytest.raises(FormatError, match=message):
            zoo.read_family(text)
    with pytest.raises(FormatError, match="lacks the fields"):
        zoo.read_family(json.dumps({"format": "moga-published", "version": 1}))


def test_a_network_of_another_version_is_refused(tmp_path: Path) -> None:
    data = json.loads(zoo.network("moga_a").to_json())
    for change, message in (
        ({"version": 9}, "the network's format version is 9; this moga reads 1"),
        ({"more": 1}, r"unknown fields in a network's JSON: \['more'\]"),
    ):
        (tmp_path / "n.json").write_text(json.dumps({**data, **change}), encoding="utf-8")
        with pytest.raises(FormatError, match=message):
            zoo.create_model(tmp_path / "n.json")


def rebuilt(network: Network, change: Any) -> Network:
    """Return the network with each block changed, and the images' sizes followed through."""
    blocks, side = [], network.blocks[0].height
    for block in network:
        values = {**block.to_dict(), "height": side, "width": side, **change(len(blocks), block)}
        blocks.append(type(block).from_dict(values))
        side = blocks[-1].out_size[0]
    return Network(tuple(blocks))


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("gpunet_0", (11885432, 3308916480)),
        ("gpunet_1", (12704192, 3375338624)),
        ("gpunet_2", (25798704, 8708618240)),
    ],
)
def test_gpunet_if_it_padded(name: str, counts: tuple[int, int]) -> None:
    """What the counts would be with symmetric padding: not what was released."""
    network = rebuilt(zoo.network(name), lambda _, block: {"padding": "symmetric"})
    assert (count_params(network), count_macs(network)) == counts


@pytest.mark.golden
@pytest.mark.parametrize(
    ("kernel", "counts"), [(2, (5705430, 918543520)), (3, (5706070, 920550560))]
)
def test_efficientnet_x_b0_as_the_paper_prints_it(kernel: int, counts: tuple[int, int]) -> None:
    """Table 1's squeeze of 1, .5, .25 in every later stage: not what was released."""

    def change(index: int, block: Any) -> dict[str, Any]:
        share = 1 if index == 2 else 0.5 if index in (3, 4) else 0.25
        values = {"se_channels": int(block.se_channels * share)}
        return {**values, "kernel": kernel} if index == 2 else values

    network = rebuilt(zoo.network("efficientnet_x_b0_gpu"), change)
    assert (count_params(network), count_macs(network)) == counts
