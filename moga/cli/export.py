"""``moga export``: a network as an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from moga.cli.exits import exits
from moga.cli.show import print_json
from moga.errors import UsageError

__all__ = ["export"]


def export(  # noqa: PLR0917 - typer reads the options from the signature
    network: Annotated[
        str,
        typer.Argument(
            help="A network's JSON file, as a run's family holds it, or a published name.",
            metavar="NETWORK",
        ),
    ],
    onnx: Annotated[Path, typer.Option(help="The file to write.", metavar="FILE.onnx")],
    weights: Annotated[
        Path | None,
        typer.Option(help="Its weights.", show_default="random ones", metavar="FILE.safetensors"),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Images a batch.", show_default="1")] = None,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Take any number of images a batch.")
    ] = False,
    fold: Annotated[
        bool, typer.Option("--fold", help="Fold batch norms into the convolutions before them.")
    ] = False,
    opset: Annotated[
        int | None, typer.Option(help="Version of ONNX's operators.", show_default="18")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Compare with torch, by ONNX Runtime."),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object to standard output, for scripts.")
    ] = False,
) -> None:
    """Write a network as an ONNX file, and check that it computes what torch does."""
    with exits():
        from moga.networks.export import OPSET, export_onnx
        from moga.networks.zoo import describe

        if dynamic_batch and batch is not None:
            raise UsageError("give --batch or --dynamic-batch, not both")
        written = export_onnx(
            describe(network),
            onnx,
            weights=weights,
            batch=None if dynamic_batch else 1 if batch is None else batch,
            fold_norm=fold,
            opset=OPSET if opset is None else opset,
            check=check,
        )
        content = {
            "onnx": str(written.path),
            "inputs": list(written.inputs),
            "outputs": list(written.outputs),
            "opset": written.opset,
            "nodes": written.nodes,
            "folded": written.folded,
            "size_bytes": written.size_bytes,
            "difference": written.difference,
            "weights": None if weights is None else str(weights),
        }
        if as_json:
            print_json(content)
            return
        shape = "x".join("N" if side is None else str(side) for side in written.inputs)
        typer.echo(f"{written.path}: {shape} images, {written.nodes} operators of opset", nl=False)
        typer.echo(f" {written.opset}, {written.size_bytes / 2**20:.1f} MiB")
        difference = written.difference
        text = "not asked" if difference is None else f"differs by {difference:.1e}"
        typer.echo(f"checked against torch: {text}")
        if weights is None:
            typer.echo("weights: random, for no --weights were given")
