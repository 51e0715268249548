"""The commands of ``moga``: each parses its options, calls the library and prints.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Messages and progress go to standard
error, results to standard output.
"""

from pathlib import Path
from typing import Annotated

import typer

from moga._version import __version__
from moga.cli.analyze import analyze
from moga.cli.blocks import BlockTimes, check_options, export_folder, import_times, was_given
from moga.cli.devices import devices
from moga.cli.exits import exits
from moga.cli.export import export
from moga.cli.fitted import fit_times
from moga.cli.show import print_json, print_profile, print_result
from moga.errors import UsageError
from moga.files import check_target

__all__ = ["app"]

app = typer.Typer(
    name="moga",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Search for families of fast, accurate convolutional networks on the hardware you have.",
    epilog="Start with [bold]moga search[/bold]: it needs no option, trains on photographs that "
    "ship with it, measures this machine, and writes a report to runs/.",
)

SpaceOption = Annotated[
    str,
    typer.Option(
        help="What to search: moga, genet, gpunet, efficientnet_x, fbnet, nasbench201; with "
        'arguments where you like, as in "moga(width=0.5)" or "nasbench201(data=cifar100)".'
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="A folder with one folder of images a class. They are what accuracy means, and the "
        "space follows their resolution and classes.",
        show_default="photographs that ship with moga",
        metavar="DIR",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to standard output, for scripts.")
]
RunArgument = Annotated[
    Path, typer.Argument(help="A directory that [bold]moga search[/bold] wrote.", metavar="RUN")
]


def _split(text: str) -> list[str]:
    """Split at commas that stand in no brackets and no quotes.

    Example:
        >>> _split("accuracy*.4, latency, params:max")
        ['accuracy*.4', 'latency', 'params:max']
        >>> _split("nasbench201(data=cifar100,time=5),cpu")
        ['nasbench201(data=cifar100,time=5)', 'cpu']
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _one_or_all(items: list[str]) -> str | list[str]:
    return items[0] if len(items) == 1 else items


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"moga {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version_wanted: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command(
    epilog="Examples:\n\n"
    "  moga search\n\n"
    "  moga search --space nasbench201 --device pixel3 --objectives accuracy,latency\n\n"
    '  moga search --objectives "accuracy*.6,latency*.4<=3" --constraint "macs<=3e8"\n\n'
    "  moga search --data photographs/ --evaluations 2000 --storage runs/mine\n\n"
    "The same command with --storage on an existing run continues it."
)
def search(  # noqa: PLR0917 - typer reads the options from the signature
    space: SpaceOption = "moga",
    device: Annotated[
        str,
        typer.Option(
            help="Where latency counts: [bold]cpu[/bold] is this machine, measured; [bold]moga "
            "devices[/bold] lists all. Several: separate them by commas."
        ),
    ] = "cpu",
    objectives: Annotated[
        str | None,
        typer.Option(
            help="What to optimise, separated by commas: metric \\[:min|max] \\[*weight] "
            "\\[<=limit] \\[>=limit], with the metrics accuracy, latency, params, macs. "
            "Several devices: latency@NAME.",
            show_default="the space's own",
        ),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            help='A limit on what is no objective, such as "macs<=3e8" or "1e6<=params<5e6". '
            "May be repeated.",
            show_default="none",
        ),
    ] = None,
    searcher: Annotated[
        str,
        typer.Option(
            help="How to search: nsga2, auto, bayes, lamcts, llr, controller, local, evolution, "
            "pymoo, portfolio, random; with arguments where you like."
        ),
    ] = "nsga2",
    data: DataOption = None,
    evaluator: Annotated[
        str | None,
        typer.Option(
            help="Where accuracy comes from. Several, separated by commas: supernet,latency also "
            "measures each candidate's latency.",
            show_default="the space's own: for moga a supernet, trained or from the cache",
        ),
    ] = None,
    evaluations: Annotated[int, typer.Option(help="How many networks to evaluate at most.")] = 1000,
    hours: Annotated[
        float | None, typer.Option(help="Stop after so many hours.", show_default="no limit")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    executor: Annotated[
        str,
        typer.Option(
            help="Who evaluates: [bold]ray[/bold] (processes, clusters) or [bold]local[/bold]."
        ),
    ] = "ray",
    workers: Annotated[
        int | None,
        typer.Option(help="Evaluating processes of Ray.", show_default="one a processor"),
    ] = None,
    in_flight: Annotated[int, typer.Option(help="Networks under evaluation at any time.")] = 16,
    batch: Annotated[int, typer.Option(help="Networks that are asked for together.")] = 4,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Seconds for one evaluation; over it, it counts as failed.",
            show_default="no limit",
        ),
    ] = None,
    storage: Annotated[
        Path | None,
        typer.Option(
            help="The run's directory; a run that is there is continued.",
            show_default="a new one in runs/",
            metavar="DIR",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search, select a family of networks, and write a report.

    Without options: MoGA's space, this machine, photographs that ship with moga.
    """
    run_dir = [storage]
    with exits(lambda: run_dir[0]):
        from moga.search import Search

        devices = _split(device)
        found = Search(
            space,
            _one_or_all(devices),
            None if objectives is None else _split(objectives),
            constraints=constraint or (),
            searcher=searcher,
            data=data,
            evaluator=None if evaluator is None else _one_or_all(_split(evaluator)),
            evaluations=evaluations,
            hours=hours,
            seed=seed,
            executor=executor,
            workers=workers,
            in_flight=in_flight,
            batch=batch,
            time_limit=time_limit,
            storage=storage,
            progress=True,
        )
        try:
            result = found.run()
        finally:
            run_dir[0] = found.storage
        print_result(result, as_json=as_json)


@app.command(epilog="Example:\n\n  moga resume runs/moga-cpu-001")
def resume(
    run: RunArgument,
    executor: Annotated[
        str | None, typer.Option(help="Who evaluates: ray or local.", show_default="as before")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Evaluating processes of Ray.", show_default="one a processor"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a run that was interrupted; a finished one is left as it is."""
    with exits(lambda: run):
        from moga.search import continued

        result = continued(run, executor=executor, workers=workers, progress=True)
        print_result(result, as_json=as_json)


@app.command(
    epilog="Examples:\n\n"
    "  moga profile\n\n"
    '  moga profile --space "moga(resolution=32, width=0.35)" --networks 50 --output cpu.npz\n\n'
    '  moga profile --space "moga(resolution=224, num_classes=1000)" --export-blocks phone/\n\n'
    "  moga profile --import phone/ --device-name pixel --output pixel.npz",
)
def profile(  # noqa: PLR0917 - typer reads the options from the signature
    context: typer.Context,
    space: SpaceOption = "moga",
    device: Annotated[
        str,
        typer.Option(
            help="The device to measure: cpu, cuda, onnxruntime, tensorrt, preset; with arguments "
            'where you like, as in "cpu(workers=8)", which spreads the blocks over 8 workers of a '
            "Ray cluster."
        ),
    ] = "cpu",
    data: DataOption = None,
    networks: Annotated[
        int,
        typer.Option(
            help="Whole networks to measure end to end, to know the table's error: 2 or more; 0: "
            "none.",
            min=0,
        ),
    ] = 30,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the table goes, an .npz file.", show_default="latency-SPACE-DEVICE.npz"
        ),
    ] = None,
    export_blocks: Annotated[
        Path | None,
        typer.Option(
            help="Instead of measuring, write the space's blocks as ONNX files into a folder, to "
            "be timed on another device. What is there is kept.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="With --export-blocks: files to write now.", show_default="all", min=1),
    ] = None,
    import_from: Annotated[
        Path | None,
        typer.Option(
            "--import",
            help="Instead of measuring, read times of the blocks: the folder of --export-blocks "
            "with the times in it, or a file of times.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="With --export-blocks, --import and --fit: images a batch.",
            min=1,
            show_default="1 or DIR's",
        ),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(
            help="Instead of measuring, fit the table to times of whole networks: a CSV or Parquet "
            "file with the columns latency_ms, and genome or network.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="With --import: the precision that the times must be of, where they say.",
            show_default="any one",
        ),
    ] = "",
    device_name: Annotated[
        str,
        typer.Option(
            help="With --import and --fit: what the device is called.",
            show_default="what the times say, or FILE's name",
        ),
    ] = "",
    missing: Annotated[
        str,
        typer.Option(
            help="With --import: blocks without a time are [bold]refuse[/bold]d, or "
            "[bold]predict[/bold]ed from the others and marked."
        ),
    ] = "refuse",
    as_json: JsonOption = False,
) -> None:
    """Measure a device's latency table of a space, and say how far the table is off.

    The table holds one time a block; a network's latency is their sum. Its error is found by
    measuring random networks end to end. The space follows the images as in [bold]moga
    search[/bold]; "moga(resolution=224, num_classes=1000)" is the paper's.
    """
    with exits():
        if export_blocks is not None and import_from is not None:
            raise UsageError("give --export-blocks or --import, not both")
        if output is not None:
            check_target(output)
        if fit is not None:
            if export_blocks is not None or import_from is not None:
                raise UsageError("give --fit alone, without --export-blocks or --import")
            check_options(context, "--fit")
            fit_times(
                fit,
                space,
                data,
                device=device_name,
                batch=1 if batch is None else batch,
                output=output,
                as_json=as_json,
            )
            return
        if export_blocks is not None:
            check_options(context, "--export-blocks")
            export_folder(space, data, export_blocks, batch=batch, limit=limit, as_json=as_json)
            return
        if import_from is not None:
            check_options(context, "--import")
            times = BlockTimes(batch, precision, device_name, missing)
            asked = was_given(context, "space")
            import_times(
                import_from, space if asked else None, data, times, output=output, as_json=as_json
            )
            return
        check_options(context, "")
        import numpy as np

        from moga import registry
        from moga.devices.base import Device, Measures
        from moga.devices.tableerror import checked_table
        from moga.plan import space_and_images
        from moga.report.progress import auto

        _, built = space_and_images(space, data)
        target: Device = registry.create("device", device)
        if not isinstance(target, Measures) and was_given(context, "networks"):
            raise UsageError(
                f"the device {target.name!r} measures nothing, so that --networks has no effect; "
                "leave it out"
            )
        if networks == 1:
            raise UsageError(
                "--networks is 1, but one network says neither how wrong a table is on average nor "
                "how well it ranks; give 2 or more, better 30, or 0 to measure none"
            )
        path = output or Path(f"latency-{built.name}-{target.name}.npz")
        check_target(path)
        error = None
        with auto() as progress:
            if isinstance(target, Measures) and networks:
                table, error = checked_table(
                    built,
                    target,
                    networks=networks,
                    rng=np.random.default_rng(0),
                    progress=progress,
                )
            else:
                table = target.table(built, progress)
            table.save(path)
        print_profile(table, error, path, as_json=as_json)


@app.command(epilog="Example:\n\n  moga report runs/moga-cpu-001")
def report(run: RunArgument, as_json: JsonOption = False) -> None:
    """Write report.html from the files of a run, even of one that has not ended."""
    with exits():
        from moga.report.html import write_report

        path = write_report(run)
        if as_json:
            print_json({"report": str(path)})
        else:
            typer.echo(str(path))


@app.command(epilog="Example:\n\n  moga networks --json")
def networks(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a list of JSON objects, for scripts.")
    ] = False,
) -> None:
    """List every published network that moga knows: counted here, beside its paper's figures."""
    with exits():
        from moga.cli.networks import print_networks
        from moga.networks.zoo import table

        print_networks(table(), as_json=as_json)


app.command(
    epilog="Examples:\n\n  moga export runs/moga-cpu-001/family/A.json --onnx A.onnx "
    "--weights runs/moga-cpu-001/family/A.safetensors --fold\n\n"
    "  moga export moga_a --onnx moga_a.onnx --dynamic-batch"
)(export)
app.command(epilog="Example:\n\n  moga devices --json")(devices)
app.add_typer(analyze)


if __name__ == "__main__":
    app()
