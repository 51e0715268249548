"""The style sheet of the report: calm, light and dark, readable on a phone and on paper."""

from typing import Final

__all__ = ["STYLE"]

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --card: #ffffff; --ink: #1c2024; --soft: #5b636d; --line: #e3e5e8;
  --accent: #c2410c; --grid: #e9ebee; --shade: #f3f4f6;
  --k1: #9aa5b1; --k3: #4aa8d8; --k5: #5a6fd6; --k7: #a23b93; --empty: transparent;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #131518; --card: #1b1e22; --ink: #e7e9ec; --soft: #a0a8b2; --line: #2e3338;
    --accent: #fb923c; --grid: #2a2e33; --shade: #22262b;
    --k1: #6b7682; --k3: #4fb0e0; --k5: #7f92f0; --k7: #cf6cc0;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 44px; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.2; margin: 0 0 8px; font-weight: 650;
  letter-spacing: -.015em; }
h2 { font-size: 1.3rem; margin: 48px 0 6px; font-weight: 620; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 22px 0 6px; font-weight: 620; }
p { margin: 6px 0 12px; max-width: 76ch; }
.lead { font-size: 1.08rem; color: var(--soft); }
.soft, figcaption, caption { color: var(--soft); font-size: .92rem; }
code { font: .9em ui-monospace, "SFMono-Regular", Menlo, monospace; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 24px 0 0; padding: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 16px; }
.tiles b { display: block; font-size: 1.5rem; line-height: 1.25; font-weight: 640;
  font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: .9rem; }
figure { margin: 14px 0 0; background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; padding: 14px; }
figcaption { padding: 4px 6px 0; max-width: 90ch; }
.family { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 16px;
  margin: 14px 0; }
.family article { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 16px 16px 10px; }
.family h3 { margin: 0; font-size: 1.35rem; color: var(--accent); }
.family p { margin: 0 0 8px; }
svg.network { width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg text.size { fill: var(--soft); font-size: 11px; }
svg .shrink { stroke: var(--line); stroke-width: 1; stroke-dasharray: 3 4; }
svg .se { fill: var(--card); stroke: var(--accent); stroke-width: 2.5; }
svg .edge { stroke: var(--soft); stroke-width: 1; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; list-style: none; padding: 0;
  margin: 10px 0; color: var(--soft); font-size: .9rem; }
.legend li { display: flex; align-items: center; gap: 7px; }
.legend svg { width: 26px; height: 22px; flex: none; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; padding: 4px 16px 8px; margin: 14px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 10px 0 4px; }
th, td { text-align: left; padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 500; }
td.best { font-weight: 700; color: var(--accent); }
dl { display: grid; grid-template-columns: minmax(120px, max-content) 1fr; gap: 4px 18px;
  margin: 6px 0 12px; font-size: .95rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
dd dl { margin: 0 0 4px; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 10px 16px; margin: 12px 0; }
summary { cursor: pointer; font-weight: 600; }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
.absent { border-left: 3px solid var(--accent); padding: 2px 0 2px 12px; color: var(--soft); }
footer { color: var(--soft); font-size: .9rem; padding-top: 36px; padding-bottom: 48px; }
.js-plotly-plot .xtick text, .js-plotly-plot .ytick text, .js-plotly-plot .legendtext,
.js-plotly-plot .xtitle, .js-plotly-plot .ytitle, .js-plotly-plot .cbaxis text,
.js-plotly-plot [class^="cb"] text { fill: var(--soft) !important; }
.js-plotly-plot .gridlayer path { stroke: var(--grid) !important; }
.js-plotly-plot .textpoint text { fill: var(--accent) !important; }
.js-plotly-plot .modebar-btn path { fill: var(--soft) !important; }
@media (max-width: 560px) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
  main, header, footer { padding-left: 16px; padding-right: 16px; } }
@media print { figure, article, .scroll, details { break-inside: avoid; } }
"""
