"""The Python programs of the documentation run, page by page."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
QUOTES = {"architecture.md"}
"""Pages whose code is quoted to be talked about, not to be run."""


def programs(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


PAGES = [page for page in sorted(DOCS.glob("*.md")) if programs(page) and page.name not in QUOTES]


def test_the_tutorial_is_among_the_pages() -> None:
    assert "your-own-space.md" in [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_programs_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path / "cache"))
    namespace: dict[str, object] = {"__name__": page.stem}
    for number, text in enumerate(programs(page)):
        exec(compile(text, f"{page.name}, program {number + 1}", "exec"), namespace)


def test_the_searcher_of_the_page_passes_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "searchers"}
    for text in programs(DOCS / "searchers.md"):
        exec(text, namespace)
    suite = namespace["TestClimber"]()
    tests = [name for name in dir(suite) if name.startswith("test_")]
    assert len(tests) == 18
    for name in tests:
        getattr(suite, name)()


@pytest.mark.parametrize("name", sorted(QUOTES))
def test_quoted_programs_are_python(name: str) -> None:
    for number, text in enumerate(programs(DOCS / name)):
        compile(text, f"{name}, program {number + 1}", "exec")
