import json

import pytest

from moga.contracts import Silent
from moga.devices import blockfiles, profile
from moga.devices.blockfiles import MANIFEST, Manifest, export_blocks
from moga.devices.profile import needed_blocks, unique_blocks
from moga.errors import FormatError, MissingExtra, UsageError
from moga.network import Block
from moga.spaces.entries import find_blocks
from moga.spaces.moga import MoGASpace

SPACE = MoGASpace(resolution=8, width=0.05, num_classes=2)


class Counting(Silent):
    def __init__(self):
        self.done = []

    def advance(self, done):
        self.done.append(done)


@pytest.fixture
def exported(monkeypatch):
    """Replaces the exporter; remembers what was exported."""
    names = []

    def write(subject, path, *, batch, fold, check):
        names.append(path.stem)
        path.write_text(f"{batch} {fold} {check}")

    monkeypatch.setattr(blockfiles, "_export", write)
    return names


def test_every_block_and_some_networks_are_written_once(exported, tmp_path):
    progress = Counting()
    manifest, left = export_blocks(SPACE, tmp_path / "phone", progress=progress)
    blocks = unique_blocks(SPACE)
    assert left == 0
    assert manifest.blocks == tuple(blocks)
    assert len(manifest.networks) == 4
    assert len(exported) == len(blocks) + 4
    assert progress.done == list(range(1, len(exported) + 1))
    assert exported[0] == f"network-{manifest.networks[0].digest}"
    assert exported[-1] == f"block-{blocks[-1].digest}"
    assert Manifest.load(tmp_path / "phone") == manifest


def test_the_manifest_says_what_is_in_each_file(exported, tmp_path):
    export_blocks(SPACE, tmp_path, batch=4, networks=1, limit=1)
    content = json.loads((tmp_path / MANIFEST).read_text())
    assert (content["space"], content["batch"], content["fold"]) == (SPACE.spec, 4, True)
    assert content["unit"] == "ms a batch"
    network, block = content["files"][0], content["files"][1]
    assert block["shape"] == [4, 3, 8, 8]
    assert Block.from_dict(block["block"]) == unique_blocks(SPACE)[0]
    assert block["file"] == f"block-{block['digest']}.onnx"
    assert network["file"] == f"network-{network['digest']}.onnx"
    assert len(network["network"]["blocks"]) == 20


def test_an_export_goes_on_where_it_stopped(exported, tmp_path):
    total = len(unique_blocks(SPACE)) + 4
    assert export_blocks(SPACE, tmp_path, limit=3)[1] == total - 3
    first = list(exported)
    assert export_blocks(SPACE, tmp_path)[1] == 0
    assert exported[:3] == first
    assert len(exported) == len(set(exported)) == total


def test_of_a_large_space_the_blocks_that_are_needed_most_go_out_first(
    exported, tmp_path, monkeypatch
):
    for module in (profile, blockfiles):
        monkeypatch.setattr(module, "MOST_BLOCKS", 20)
    with pytest.raises(UsageError, match="more than 20 distinct blocks; say how many files to"):
        export_blocks(SPACE, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    total = len(find_blocks(SPACE.slots)[0]) + 2
    first, left = export_blocks(SPACE, tmp_path, networks=2, limit=9)
    assert (len(first.networks), len(first.blocks), left) == (2, 7, total - 9)
    needed = needed_blocks(SPACE)
    assert first.blocks == tuple(needed[:7])
    second, left = export_blocks(SPACE, tmp_path, networks=2, limit=5)
    assert (second.blocks, left) == (tuple(needed[:12]), total - 14)
    assert len(exported) == len(set(exported)) == 14
    third, left = export_blocks(SPACE, tmp_path, networks=2, limit=total)
    assert (len(third.blocks), left) == (len(needed), 0)


def test_blocks_of_more_images_get_more(tmp_path):
    block = Block(
        operation="space_to_batch", in_channels=3, out_channels=3, height=4, width=4, stride=2
    )
    behind = Block(
        operation="conv",
        in_channels=3,
        out_channels=4,
        height=2,
        width=2,
        batch_factor=4,
    )
    manifest = Manifest("space", "digest", 2, True, (block, behind), ())
    manifest.save(tmp_path)
    files = json.loads((tmp_path / MANIFEST).read_text())["files"]
    assert [file["shape"] for file in files] == [[2, 3, 4, 4], [8, 3, 2, 2]]


def test_files_hold_the_blocks(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    _, left = export_blocks(SPACE, tmp_path, batch=2, networks=0, limit=1)
    assert left == len(unique_blocks(SPACE)) - 1
    (file,) = tmp_path.glob("*.onnx")
    shape = onnx.load(file).graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim] == [2, 3, 8, 8]


def test_wrong_numbers_and_folders_are_refused(exported, tmp_path):
    for wrong in ({"batch": 0}, {"networks": -1}, {"limit": 0}):
        with pytest.raises(UsageError, match="give 1, 0 and 1 or more"):
            export_blocks(SPACE, tmp_path, **wrong)
    export_blocks(SPACE, tmp_path, limit=1)
    with pytest.raises(UsageError, match="holds an export of another space, batch or number"):
        export_blocks(SPACE, tmp_path, batch=2)
    with pytest.raises(UsageError, match=r"manifest.json is a file; give the path of a folder"):
        export_blocks(SPACE, tmp_path / MANIFEST)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no manifest of exported blocks"),
        ("[]", "is no manifest of exported blocks"),
        ('{"format": "moga-blocks", "version": 9}', "expected moga-blocks of version 1"),
        ('{"format": "moga-blocks", "version": 1}', "is no manifest of exported blocks: 'files'"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, content, message):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(FormatError, match=message):
        Manifest.load(tmp_path)


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(FormatError, match="is no manifest of exported blocks"):
        Manifest.load(tmp_path)


def test_what_is_not_installed_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"onnx is not installed. .*pip install 'moga\[onnx\]'"):
        export_blocks(MoGASpace(32, 0.35, 10), tmp_path / "out")
    assert not (tmp_path / "out").exists()
