"""``moga analyze``: the analyses that the papers used to design their spaces."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moga.cli.exits import exits
from moga.cli.show import print_json, print_message
from moga.errors import UsageError

if TYPE_CHECKING:
    from moga.networks.analyze import KernelRank, StageRank
    from moga.networks.intensity import Roofline

__all__ = ["analyze"]

analyze = typer.Typer(
    name="analyze",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Look at networks as the papers did when they designed their spaces.",
)

FigureOption = Annotated[
    Path | None, typer.Option(help="Write the picture there.", metavar="FILE.html")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to standard output, for scripts.")
]


@analyze.command(
    epilog="Examples:\n\n  moga analyze rank moga_a --weights A.safetensors --figure rank.html\n\n"
    "  moga analyze rank checkpoint.pth"
)
def rank(
    model: Annotated[
        str,
        typer.Argument(
            help="A published name, a network's JSON file, a name of timm's, or a checkpoint "
            "(.safetensors, .pth).",
            metavar="MODEL",
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option(help="Its weights.", metavar="FILE.safetensors")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Let timm fetch its trained weights.")
    ] = False,
    figure: FigureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how full the rank of convolution kernels is, stage by stage (GENet, section 3.3)."""
    with exits():
        from moga.networks.analyze import (
            find_module,
            is_checkpoint,
            rank_table,
            read_checkpoint,
            stage_table,
        )

        if is_checkpoint(model):
            if weights is not None or pretrained:
                raise UsageError("a checkpoint has its own weights; leave out the options for them")
            rows, random = rank_table(read_checkpoint(model)), False
        else:
            random = weights is None and not pretrained
            if random:
                print_message("note: the weights are random; give --weights, or a checkpoint")
            rows = rank_table(find_module(model, weights=weights, pretrained=pretrained))
        stages = stage_table(rows)
        if figure is not None:
            _rank_page(stages, model, figure, random=random)
        _print_rank(rows, stages, random=random, as_json=as_json)


def _rank_page(stages: Sequence["StageRank"], model: str, path: Path, *, random: bool) -> None:
    from moga.report.analysis import rank_figure, write_figure

    write_figure(
        rank_figure(stages),
        path,
        title=f"Rank of {Path(model).name}'s convolutions",
        caption="Mean singular values of the kernels, as matrices (out, in*k*k), of each stage, "
        "divided by the largest; how many kernels in brackets. Depthwise kernels are left out. "
        f"After GENet (Lin et al. 2020), section 3.3.{' The weights are random.' * random}",
    )


def _print_rank(
    rows: Sequence["KernelRank"], stages: Sequence["StageRank"], *, random: bool, as_json: bool
) -> None:
    if as_json:
        kernels = [
            {
                "stage": row.stage,
                "name": row.name,
                "shape": list(row.shape),
                "effective_rank": {str(k): v for k, v in row.effective_rank.items()},
                "singular_values": [float(f"{value:.6g}") for value in row.singular_values],
            }
            for row in rows
        ]
        shown = [
            {
                "stage": stage.stage,
                "kernels": stage.kernels,
                "rank": {str(k): v for k, v in stage.rank.items()},
            }
            for stage in stages
        ]
        print_json({"random_weights": random, "stages": shown, "kernels": kernels})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Mean effective rank, of the full one", title_justify="left")
    table.add_column("stage")
    table.add_column("kernels", justify="right")
    for threshold in stages[0].rank if stages else ():
        table.add_column(f">= {threshold:g} of the largest", justify="right")
    for stage in stages:
        cells = [f"{value:.1%}" for value in stage.rank.values()]
        table.add_row(stage.stage, str(stage.kernels), *cells)
    Console(markup=False, highlight=False).print(table)


@analyze.command(
    epilog="Examples:\n\n  moga analyze roofline efficientnet_x_b0_tpu --device tpuv3 "
    "--precision bf16\n\n  moga analyze roofline moga_a --peak 31.2 --bandwidth 320 --batch 1"
)
def roofline(  # noqa: PLR0917 - typer reads the options from the signature
    network: Annotated[
        str,
        typer.Argument(
            help="A published name, a network's JSON file, or a name of timm's.", metavar="NETWORK"
        ),
    ],
    device: Annotated[
        str | None, typer.Option(help="v100 or tpuv3.", show_default="v100, without --peak")
    ] = None,
    peak: Annotated[
        float | None, typer.Option(help="Of your own device: TFLOP/s at the precision.")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="Of your own device: GB/s of its memory.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images a batch.")] = 128,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, tf32, fp16, bf16 or int8.", show_default="fp16, or the device's only one"
        ),
    ] = None,
    fusion: Annotated[
        str, typer.Option(help="What counts as traffic: fused, eager or convolutions.")
    ] = "fused",
    resolution: Annotated[
        int | None, typer.Option(help="Side of the image.", show_default="the network's own")
    ] = None,
    figure: FigureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show work, traffic and operational intensity against a device (EfficientNet-X, section 2)."""
    with exits():
        from moga.networks.analyze import find_module, input_shape
        from moga.networks.intensity import roofline as compute
        from moga.networks.trace import fusion_named

        top, speed, kind, source = _device(device, peak, bandwidth, precision)
        module = find_module(network, meta=True)
        found = compute(
            module,
            input_shape(module, resolution),
            peak=top,
            bandwidth=speed,
            batch=batch,
            precision=kind,
            fusion=fusion_named(fusion),
        )
        if figure is not None:
            _roofline_page(found, network, source, figure)
        _print_roofline(found, source, as_json=as_json)


def _device(
    name: str | None, peak: float | None, bandwidth: float | None, precision: str | None
) -> tuple[float, float, str, str]:
    """Return operations and bytes a second, the precision, and where the figures come from."""
    from moga.networks.intensity import accelerator

    if (peak is None) != (bandwidth is None):
        raise UsageError("a device of your own needs both --peak and --bandwidth")
    if peak is not None and bandwidth is not None:
        if name is not None:
            raise UsageError("give --device, or --peak and --bandwidth, not both")
        return peak * 1e12, bandwidth * 1e9, precision or "fp16", "as given"
    known = accelerator(name or "v100")
    kind = precision or next(iter(known.peak))
    return known.peak_of(kind), known.bandwidth, kind, f"{known.title}: {known.source}"


def _caption(found: "Roofline", source: str) -> str:
    return (
        f"Batch {found.batch}, {found.precision}, traffic: {found.fusion}; two operations a "
        f"multiply-add. {found.peak / 1e12:g} TFLOP/s, {found.bandwidth / 1e9:g} GB/s ({source})."
    )


def _roofline_page(found: "Roofline", network: str, source: str, path: Path) -> None:
    from moga.report.analysis import roofline_figure, write_figure

    drawn = roofline_figure(found.parts, found.whole, peak=found.peak, bandwidth=found.bandwidth)
    title = f"Roofline of {Path(network).name}"
    write_figure(drawn, path, title=title, caption=_caption(found, source))


def _print_roofline(found: "Roofline", source: str, *, as_json: bool) -> None:
    rows = [
        {
            "name": part.name,
            "operations": part.operations,
            "bytes": part.traffic_bytes,
            "intensity": part.intensity,
            "attainable_tflops": part.attainable / 1e12,
            "least_ms": part.least_ms,
            "limit": part.limit,
        }
        for part in (*found.parts, found.whole)
    ]
    if as_json:
        content = {
            "peak_tflops": found.peak / 1e12,
            "bandwidth_gbs": found.bandwidth / 1e9,
            "source": source,
            "batch": found.batch,
            "precision": found.precision,
            "fusion": found.fusion,
            "operations_a_mac": 2,
            "network": rows[-1],
            "parts": rows[:-1],
        }
        sys.stdout.write(json.dumps(content, allow_nan=False) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("part")
    for name in ("GFLOP", "MB", "FLOP/byte", "TFLOP/s at most", "ms at least"):
        table.add_column(name, justify="right")
    table.add_column("limit")
    for part in (*found.parts, found.whole):
        table.add_row(
            part.name,
            f"{part.operations / 1e9:.2f}",
            f"{part.traffic_bytes / 1e6:.2f}",
            f"{part.intensity:.1f}",
            f"{part.attainable / 1e12:.1f}",
            f"{part.least_ms:.3f}",
            part.limit,
        )
    Console(markup=False, highlight=False).print(table)
    typer.echo(_caption(found, source))
