"""A network as an inline SVG: one row a block, a bar whose look says what the block is made of.

- height and colour of the bar: the kernel;
- width: the expansion, hidden channels over channels in (1 where nothing is expanded);
- a ring at the bar's end: squeeze-and-excitation;
- a dashed line above a row: the image gets smaller there.

A NAS-Bench-201 cell is drawn as its six edges; equal cells in a row once, with how many they are.
Colours are names of the page's style sheet (``var(--k3)``), for light and dark.
"""

import html
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from moga.network import CELL_OPERATIONS, Block, Network
from moga.report.text import TIMES

__all__ = ["describe", "draw", "legend"]

_ROW: Final = 24
_TOP: Final = 8
_LEFT: Final = 52
_BAR: Final = 132
_WIDTH: Final = 330
_HEIGHTS: Final = {1: 6, 3: 10, 5: 15, 7: 20}
_COLOURS: Final = {1: "--k1", 3: "--k3", 5: "--k5", 7: "--k7"}
_EDGES: Final = {
    "none": "--empty",
    "skip": "--k1",
    "conv1x1": "--k3",
    "conv3x3": "--k5",
    "avgpool3x3": "--k7",
}
_NAMES: Final = {
    "conv": "conv",
    "dsconv": "separable",
    "mbconv": "mbconv",
    "fused_mbconv": "fused mbconv",
    "xx": "XX",
    "bl": "BL",
    "dw": "DW",
    "space_to_batch": "space to batch",
    "batch_to_space": "batch to space",
    "cell201": "cell",
    "residual201": "reduction",
    "norm_act": "norm",
    "pool": "average pool",
    "linear": "linear",
}

_EXPANDS: Final = ("mbconv", "fused_mbconv", "xx", "bl", "dw")
_WITH_KERNEL: Final = ("conv", "dsconv", *_EXPANDS)


def _expansion(block: Block) -> float:
    return block.hidden_channels / block.in_channels if block.hidden_channels else 1.0


def describe(block: Block) -> str:
    """Return a block in words.

    Example:
        >>> describe(
        ...     Block(operation="conv", in_channels=3, out_channels=16, height=8, width=8, kernel=3)
        ... )
        'conv 3x3, 16 channels'
    """
    parts = [_NAMES[block.operation]]
    if block.operation in _WITH_KERNEL:
        parts[0] += f" {block.kernel}x{block.kernel}"
    if block.hidden_channels:
        parts.append(f"expansion {_expansion(block):g}")
    if block.se_channels:
        parts.append("squeeze-and-excitation")
    if block.stride > 1:
        parts.append(f"stride {block.stride}")
    if block.edges:
        parts.append("edges " + " ".join(block.edges))
    channels = "classes" if block.operation == "linear" else "channels"
    return ", ".join([*parts, f"{block.out_channels} {channels}"])


def draw(network: Network, name: str, *, widest: float = 6.0) -> str:
    """Return the SVG of a network.

    Args:
        network: what to draw.
        name: what it is called, for readers who do not see the picture.
        widest: the expansion that fills the width; give networks side by side the same.
    """
    rows = _rows(network)
    height = _TOP * 2 + _ROW * len(rows)
    drawn = [_row(index, block, times, rows, widest) for index, (block, times) in enumerate(rows)]
    words = "; ".join(f"{times} x {describe(b)}" if times > 1 else describe(b) for b, times in rows)
    return (
        f'<svg class="network" role="img" viewBox="0 0 {_WIDTH} {height}" '
        f'aria-label="Blocks of network {html.escape(name, quote=True)}, first to last: '
        f'{html.escape(words, quote=True)}">{"".join(drawn)}</svg>'
    )


def _rows(network: Network) -> list[tuple[Block, int]]:
    """Return blocks with how many of them a row stands for: several for equal cells alone.

    Other blocks keep a row each, so that the layers of networks side by side stand level.
    """
    keyed = enumerate(network.blocks)
    groups = groupby(keyed, key=lambda item: item[1] if item[1].edges else item[0])
    return [(items[0][1], len(items)) for _, group in groups if (items := list(group))]


def _row(
    index: int, block: Block, times: int, rows: Sequence[tuple[Block, int]], widest: float
) -> str:
    middle = _TOP + index * _ROW + _ROW / 2
    size = (block.height, block.width)
    before = (rows[index - 1][0].height, rows[index - 1][0].width) if index else (0, 0)
    parts = [f"<g><title>{html.escape(describe(block))}</title>"]
    if size != before:
        parts.append(_text(_LEFT - 10, middle, _size_text(size), "size", "end"))
        if index:
            top = middle - _ROW / 2
            parts.append(f'<line class="shrink" x1="0" x2="{_WIDTH}" y1="{top}" y2="{top}"/>')
    shape = _cell(block, middle) if block.edges else _bar(block, middle, widest)
    parts += [
        shape,
        _text(_LEFT + _BAR + 22, middle, _short(block, times), "what", "start"),
        "</g>",
    ]
    return "".join(parts)


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}²" if size[0] == size[1] else f"{size[0]}{TIMES}{size[1]}"


def _bar(block: Block, middle: float, widest: float) -> str:
    height = _height(block.kernel)
    width = max(4.0, min(1.0, _expansion(block) / widest) * _BAR)
    if block.operation not in (*_WITH_KERNEL, "linear", "residual201"):
        return _outline(middle, width)
    colour = _COLOURS.get(block.kernel, "--k7")
    bar = (
        f'<rect x="{_LEFT}" y="{middle - height / 2:g}" width="{width:.1f}" height="{height}" '
        f'rx="2.5" fill="var({colour})"/>'
    )
    return bar + (_se_mark(_LEFT + width + 9, middle) if block.se_channels else "")


def _outline(middle: float, width: float) -> str:
    """Draw what has no weights of its own to speak of: pooling, a norm."""
    return (
        f'<rect x="{_LEFT}" y="{middle - 3:g}" width="{width:.1f}" height="6" rx="2.5" '
        'class="edge" fill="none"/>'
    )


def _height(kernel: int) -> int:
    return _HEIGHTS.get(kernel, 22 if kernel > 7 else 8)


def _se_mark(x: float, middle: float) -> str:
    return f'<circle class="se" cx="{x:.1f}" cy="{middle:g}" r="4.5"/>'


def _cell(block: Block, middle: float) -> str:
    return "".join(
        f'<rect x="{_LEFT + 22 * index}" y="{middle - 8:g}" width="18" height="16" rx="3" '
        f'class="edge" fill="var({_EDGES[edge]})"/>'
        for index, edge in enumerate(block.edges)
    )


def _short(block: Block, times: int) -> str:
    if block.operation in _EXPANDS:
        kind = "" if block.operation == "mbconv" else f"{_NAMES[block.operation]} "
        text = f"{kind}{block.kernel}{TIMES}{block.kernel} e{_expansion(block):.3g}"
        text += " SE" if block.se_channels else ""
    elif block.operation in ("conv", "dsconv"):
        text = f"{_NAMES[block.operation]} {block.kernel}{TIMES}{block.kernel}"
    else:
        text = _NAMES[block.operation]
    many = f"{times} {TIMES} " if times > 1 else ""
    shrinks = block.stride > 1 and block.operation != "batch_to_space"
    stride = " ↓" if shrinks else ""
    return f"{many}{text} · {block.out_channels}{stride}"


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    return (
        f'<text class="{style}" x="{x:g}" y="{y:g}" dy=".35em" text-anchor="{anchor}">'
        f"{html.escape(text)}</text>"
    )


def legend(networks: Iterable[Network]) -> str:
    """Return the HTML list that explains the pictures: what occurs in these networks alone."""
    blocks = [block for network in networks for block in network]
    items = [_kernel_item(kernel) for kernel in sorted(_kernels(blocks))]
    if any(block.hidden_channels for block in blocks):
        items.append(("", "width of the bar: expansion (e3, e6: times the channels that enter)"))
    if any(block.se_channels for block in blocks):
        mark = f'<svg viewBox="0 0 26 22" aria-hidden="true">{_se_mark(13, 11)}</svg>'
        items.append((mark, "SE: squeeze-and-excitation"))
    used = {edge for block in blocks for edge in block.edges}
    items += [_edge_item(edge) for edge in CELL_OPERATIONS if edge in used]
    if used:
        items.append(("", "six squares: the cell's edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3"))
    items.append(("", "left: image size in pixels; last number: channels that leave; ↓: halves"))
    listed = "".join(f"<li>{mark}<span>{html.escape(text)}</span></li>" for mark, text in items)
    return f'<ul class="legend">{listed}</ul>'


def _kernels(blocks: Iterable[Block]) -> set[int]:
    return {block.kernel for block in blocks if block.operation in _WITH_KERNEL}


def _kernel_item(kernel: int) -> tuple[str, str]:
    height = _height(kernel)
    mark = (
        '<svg viewBox="0 0 26 22" aria-hidden="true">'
        f'<rect x="1" y="{11 - height / 2:g}" width="24" height="{height}" rx="2.5" '
        f'fill="var({_COLOURS.get(kernel, "--k7")})"/></svg>'
    )
    return mark, f"kernel {kernel}{TIMES}{kernel}"


def _edge_item(edge: str) -> tuple[str, str]:
    mark = (
        '<svg viewBox="0 0 26 22" aria-hidden="true">'
        '<rect x="4" y="3" width="18" height="16" rx="3" class="edge" '
        f'fill="var({_EDGES[edge]})"/></svg>'
    )
    return mark, edge
