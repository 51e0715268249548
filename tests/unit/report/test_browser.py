"""The page in a real browser, where one is installed; no name resolves there."""

import re
import shutil
import subprocess

import pytest

from moga.report.html import write_report

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome is installed")
def test_the_figures_are_drawn_without_errors(run_directory, tmp_path):
    path = write_report(run_directory)
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *(f"--user-data-dir={tmp_path / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--virtual-time-budget=5000", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    drawn = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
    assert drawn.count('class="scatterlayer') == 2
    assert drawn.count('class="point"') >= 112
    assert "Share chart" not in drawn
    for name in "ABC":
        assert re.search(rf'class="textpoint".*?{name}</', drawn, re.DOTALL)
