"""``moga profile --fit``: a latency table from the times of whole networks."""

from pathlib import Path

from moga.cli.show import print_profile

__all__ = ["fit_times"]


def fit_times(
    path: Path,
    space: str,
    data: str | None,
    *,
    device: str,
    batch: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Fit a table to times that were measured elsewhere, save and print it."""
    from moga.devices.fit import fit_table, read_times
    from moga.plan import space_and_images

    _, built = space_and_images(space, data)
    times = read_times(path, built, batch)
    table = fit_table(built, times, device=device or times.device or path.stem, batch=batch).table
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in table.provenance["device"])
    target = output or Path(f"latency-{built.name}-{name}.npz")
    table.save(target)
    print_profile(table, None, target, as_json=as_json)
