"""Every Python example in docs/ runs, and the site builds without warnings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```python\n" in page.read_text())
SLOW = {"crystals.md", "design.md", "training.md"}  # networks of crystals, a training


def python_blocks(page):
    """(line, code) of each block fenced as python, indented ones left out."""
    text = page.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text.count("\n", 0, block.start(1)) + 1, block.group(1)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=[pytest.mark.slow] * (p.name in SLOW), id=p.name)
        for p in PAGES
    ],
)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for line, code in python_blocks(page):
        # blank lines so that a traceback shows the line of the page
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert [page for page in pages if page not in text] == []


def test_linked_files_of_the_repository_exist():
    for page in DOCS.rglob("*.md"):
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        files = [page.parent / target for target in targets if "://" not in target]
        assert [file for file in files if not file.exists()] == [], page


def test_every_reference_exists():
    """A name in the reference that is no more would be left out of the site."""
    import pydoc

    for page in (DOCS / "reference").glob("*.md"):
        for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE):
            assert pydoc.locate(name) is not None, f"{page.name}: {name}"


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "calculators.html").read_text()
    assert 'id="equicalc.calculators.EquiCalculator.compute"' in page
