"""ONNX files: every kind of block, fixed and dynamic batch, folded norms, and what is refused."""

import collections
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn

from moga.errors import ExportFailed, FormatError, InvalidBlock, MissingExtra, UsageError
from moga.network import ACTIVATIONS, OPERATIONS, PADDINGS, Block, Network
from moga.networks import export, zoo
from moga.networks.blocks import build_block
from moga.networks.build import build_network, save_weights
from moga.networks.export import Exported, export_onnx, fold_norms

EPS = 1e-3
EDGES = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3", "skip")
GENET = {"kernel": 3, "norm_eps": EPS, "activation": "relu"}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("conv", {"out_channels": 8, "kernel": 3, "padding": "same", "activation": "hswish"}),
    ("space_to_batch", {"stride": 2}),
    ("mbconv", {"hidden_channels": 12, "kernel": 3, "norm_eps": EPS, "activation": "swish"}),
    ("batch_to_space", {"stride": 2}),
    ("conv", {"kernel": 2, "stride": 2, "padding": "same", "norm_eps": EPS, "activation": "relu6"}),
    ("dsconv", {"kernel": 5, "norm_eps": EPS, "activation": "relu", "shortcut": "identity"}),
    ("mbconv", {"hidden_channels": 16, "groups": 2, "kernel": 3, "norm_eps": EPS}),
    ("fused_mbconv", {"hidden_channels": 12, "kernel": 3, "padding": "zero", "norm_eps": EPS}),
    ("xx", {**GENET, "hidden_channels": 8, "shortcut": "identity"}),
    ("bl", {**GENET, "hidden_channels": 4, "out_channels": 10, "stride": 2, "shortcut": "conv"}),
    ("dw", {**GENET, "hidden_channels": 12, "shortcut": "identity"}),
    ("cell201", {"norm_eps": EPS, "edges": EDGES}),
    ("residual201", {"out_channels": 12, "stride": 2, "norm_eps": EPS, "shortcut": "conv"}),
    ("norm_act", {"norm_eps": EPS, "activation": "relu"}),
    ("pool", {}),
    ("linear", {"out_channels": 7, "bias": True}),
]
SE = {
    2: {"se_channels": 3, "se_gate": "hard_sigmoid", "shortcut": "identity"},
    5: {"se_channels": 2, "se_gate": "sigmoid"},
    7: {"se_channels": 2, "se_activation": "hswish"},
}


def every_kind() -> Network:
    """A small network with every kind of block."""
    channels, size, images, blocks = 3, (16, 16), 1, []
    for index, (operation, values) in enumerate(KINDS):
        given = {"out_channels": channels, **values, **SE.get(index, {})}
        block = Block(
            operation=operation,
            in_channels=channels,
            height=size[0],
            width=size[1],
            batch_factor=images,
            **given,
        )
        blocks.append(block)
        channels, size, images = block.out_channels, block.out_size, block.out_batch_factor
    return Network(tuple(blocks))


NETWORK = every_kind()


def stir(module: nn.Module) -> nn.Module:
    """Give norms weights and statistics, so that leaving one out is seen."""
    rng = torch.Generator().manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 1.5),
                (part.weight.data, 0.5, 1.5),
                (part.bias.data, -0.5, 0.5),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=rng)
    return module.eval()


def outputs(file: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def operators(file: Path) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in onnx.load(str(file)).graph.node)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # or else the size of the outputs, and of rounding, is left to chance
        return stir(build_network(NETWORK))


@pytest.fixture(scope="module")
def weights(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "all.safetensors"
    save_weights(module, path)
    return path


@pytest.fixture(scope="module")
def fixed(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_onnx(NETWORK, tmp_path_factory.mktemp("onnx") / "fixed.onnx", weights=weights)


@pytest.fixture(scope="module")
def folded(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("onnx") / "folded.onnx"
    return export_onnx(NETWORK, path, weights=weights, batch=None, fold_norm=True, opset=20)


def test_the_network_holds_every_kind_padding_and_activation() -> None:
    assert {block.operation for block in NETWORK} == set(OPERATIONS)
    assert {block.padding for block in NETWORK} == set(PADDINGS)
    assert {block.activation for block in NETWORK} == set(ACTIVATIONS)


def test_a_fixed_batch_computes_what_torch_does(fixed: Exported, module: nn.Module) -> None:
    assert fixed.inputs == (1, 3, 16, 16)
    assert fixed.outputs == ("logits",)
    assert fixed.difference is not None
    assert fixed.difference <= 1e-4
    images = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(outputs(fixed.path, images), module(images), rtol=0, atol=1e-4)
    assert fixed.size_bytes == fixed.path.stat().st_size


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_dynamic_folded_batch_computes_what_torch_does(
    folded: Exported, module: nn.Module, n: int
) -> None:
    assert folded.inputs == (None, 3, 16, 16)
    images = torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(n))
    with torch.inference_mode():
        torch.testing.assert_close(outputs(folded.path, images), module(images), rtol=0, atol=1e-4)


def test_norms_are_folded_on_request_only(fixed: Exported, folded: Exported) -> None:
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in build_network(NETWORK).modules())
    assert (fixed.folded, folded.folded) == (0, norms - 1)
    assert operators(fixed.path)["BatchNormalization"] == norms
    assert operators(folded.path)["BatchNormalization"] == 1  # norm_act follows no convolution
    assert folded.nodes == sum(operators(folded.path).values()) < fixed.nodes


def test_the_file_is_valid_and_names_the_network(fixed: Exported, folded: Exported) -> None:
    for written, opset in ((fixed, 18), (folded, 20)):
        model = onnx.load(str(written.path))
        onnx.checker.check_model(model, full_check=True)
        assert {item.key: item.value for item in model.metadata_props} == {
            "moga.network": NETWORK.digest
        }
        assert next(item.version for item in model.opset_import if not item.domain) == opset
        assert written.opset == opset
        assert [item.name for item in model.graph.input] == ["images"]


def test_a_backbone_gives_its_levels(tmp_path: Path) -> None:
    backbone = zoo.create_model("genet_light", features_only=True, resolution=32).train()
    written = export_onnx(backbone, tmp_path / "backbone.onnx", fold_norm=True)
    assert written.outputs == ("features_0", "features_1", "features_2", "features_3")
    model = onnx.load(str(written.path))
    assert tuple(item.name for item in model.graph.output) == written.outputs
    assert backbone.training


CASES = [block for block in NETWORK if block.norm_eps is not None and block.operation != "norm_act"]


@pytest.mark.parametrize("block", CASES, ids=lambda block: block.operation)
def test_folding_keeps_the_function_of_every_kind(block: Block) -> None:
    module = stir(build_block(block)).double()
    images = torch.randn(
        2 * block.batch_factor,
        block.in_channels,
        block.height,
        block.width,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )
    folded = fold_norms(module)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), module(images), rtol=1e-9, atol=1e-12)


def test_folding_leaves_the_training_mode_of_the_original() -> None:
    module = build_network(NETWORK).train()
    assert not fold_norms(module).training
    assert module.training


class _Airy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.airy_ai(x)


def nothing_is_left(directory: Path) -> bool:
    return list(directory.iterdir()) == []


def test_operations_that_onnx_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no operator for aten\.special_airy_ai"):
        export_onnx(_Airy(), tmp_path / "airy.onnx", input_shape=(3, 4, 4))
    assert nothing_is_left(tmp_path)


class _Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_traced_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ONNX cannot hold this network: .*data-dependent"):
        export_onnx(_Branch(), tmp_path / "branch.onnx", input_shape=(3, 4, 4))


class _Flaky(nn.Module):
    """Adds 1 when it is traced, 0 when it runs."""

    def __init__(self, inner: nn.Module, wrong: float) -> None:
        super().__init__()
        self.inner, self.wrong = inner, wrong

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out + 1 if torch.compiler.is_exporting() else out + self.wrong


@pytest.mark.parametrize("wrong", [0.0, float("nan")])
def test_a_file_that_differs_is_not_written(tmp_path: Path, wrong: float) -> None:
    kept = tmp_path / "net.onnx"
    kept.write_text("old")
    module = _Flaky(nn.Conv2d(3, 2, 1), wrong)
    with pytest.raises(ExportFailed, match=r"differs from torch by .* nothing was written"):
        export_onnx(module, kept, input_shape=(3, 4, 4))
    assert kept.read_text() == "old"
    assert list(tmp_path.iterdir()) == [kept]
    written = export_onnx(module, kept, input_shape=(3, 4, 4), check=False)
    assert written.difference is None


def test_weights_that_are_too_steep_for_single_precision_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _Flaky(nn.Conv2d(3, 2, 1), 0.0)
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert 0 < export._own_error(module, images) < 1e-5
    monkeypatch.setattr(export, "_own_error", lambda *_: 0.25)
    with pytest.raises(ExportFailed, match=r"torch in FP32 is itself 0\.25 off from FP64"):
        export_onnx(module, tmp_path / "net.onnx", input_shape=(3, 4, 4))
    assert nothing_is_left(tmp_path)


def test_norms_of_random_networks_normalise(tmp_path: Path) -> None:
    module = build_network(NETWORK)
    export._settle_norms(module, NETWORK.input_shape)
    norm = module.get_submodule("blocks.0").get_submodule("bn")
    assert not isinstance(norm, nn.BatchNorm2d)  # this convolution has none
    norm = module.get_submodule("blocks.4.bn")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum == 0.1
    assert norm.running_mean is not None
    assert norm.running_mean.abs().max() > 0


def test_another_shape_is_a_difference() -> None:
    found = torch.zeros(2, 3).numpy()
    assert export._relative(torch.zeros(2, 4).numpy(), found) == float("inf")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch": 0}, "batch is 0; give an integer of 1 or more, or None"),
        ({"opset": 9}, "opset is 9; give 18 to 23"),
        ({"weights": "nowhere.safetensors"}, r"nowhere\.safetensors does not exist"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        export_onnx(NETWORK, tmp_path / "net.onnx", **options)
    assert nothing_is_left(tmp_path)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; give the path of a file"):
        export_onnx(NETWORK, tmp_path)


def test_a_module_must_say_its_images_and_has_weights_of_its_own(
    tmp_path: Path, weights: Path
) -> None:
    with pytest.raises(UsageError, match=r"Conv2d does not say .*input_shape="):
        export_onnx(nn.Conv2d(3, 2, 1), tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="this module has its own"):
        export_onnx(build_network(NETWORK), tmp_path / "net.onnx", weights=weights)


def test_weights_of_another_network(tmp_path: Path, weights: Path) -> None:
    other = Network(NETWORK.blocks[:1])
    with pytest.raises(FormatError, match="does not hold this network's weights"):
        export_onnx(other, tmp_path / "net.onnx", weights=weights)
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"{library} is not installed.*moga\[onnx\]"):
        export_onnx(NETWORK, tmp_path / "net.onnx")


def _linear(channels: int) -> Network:
    one = {"height": 1, "width": 1}
    return Network((Block(operation="linear", in_channels=channels, out_channels=channels, **one),))


def test_more_than_one_file_holds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"weights take 4\.00 GiB, .* at most 2 GiB"):
        export_onnx(_linear(2**15), tmp_path / "net.onnx")
    assert nothing_is_left(tmp_path)


def test_more_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "available_bytes", lambda: 2**20)
    with pytest.raises(UsageError, match=r"needs about 0\.08 GiB of memory, but 0\.00 GiB"):
        export_onnx(_linear(2**11), tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="GiB are available"):
        export_onnx(nn.Linear(2**9, 2**9), tmp_path / "net.onnx", input_shape=(1, 1, 2**9))
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(MemoryError(), id="python"),
        pytest.param(RuntimeError("DefaultCPUAllocator: can't allocate memory"), id="torch"),
        pytest.param(ValueError("Failed to serialize proto"), id="protobuf"),
        pytest.param(RuntimeError("std::bad_alloc"), id="c++"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_memory_that_runs_out_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, wrapped: bool
) -> None:
    def difference(*_args: object) -> float:
        assert len(list(tmp_path.iterdir())) == 1  # the file under its temporary name
        if wrapped:
            raise KeyError("in the exporter") from error
        raise error

    monkeypatch.setattr(export, "_difference", difference)
    with pytest.raises(UsageError, match=r"memory ran out during the export; nothing was written"):
        export_onnx(_linear(8), tmp_path / "net.onnx")
    assert nothing_is_left(tmp_path)


def test_other_errors_are_not_taken_for_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def difference(*_args: object) -> float:
        raise KeyError("another")

    monkeypatch.setattr(export, "_difference", difference)
    with pytest.raises(KeyError, match="another"):
        export_onnx(_linear(8), tmp_path / "net.onnx")
    assert nothing_is_left(tmp_path)


def test_some_memory_is_available() -> None:
    assert 2**20 < export.available_bytes() < 2**50


def test_a_limit_on_addresses_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.resource, "getrlimit", lambda _which: (2**20, 2**20))
    assert export.available_bytes() == 0


def test_a_block_that_cannot_exist_is_refused_before(tmp_path: Path) -> None:
    file = tmp_path / "net.json"
    file.write_text(NETWORK.to_json().replace('"stride":2', '"stride":0', 1))
    with pytest.raises(InvalidBlock, match="stride is 0"):
        zoo.describe(file)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names())
def test_every_published_network(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    first = name.endswith(("a", "0", "light"))
    written = export_onnx(zoo.network(name), path, fold_norm=first, batch=1)
    assert written.difference is not None
    assert written.difference <= 1e-4


@pytest.mark.slow
def test_a_network_of_timm(tmp_path: Path) -> None:
    module = timm.create_model("resnet18")
    written = export_onnx(module, tmp_path / "net.onnx", input_shape=(3, 64, 64), batch=None)
    assert written.folded == 0
    assert written.difference is not None
