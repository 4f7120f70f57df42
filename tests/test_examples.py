"""The examples run, from any folder, in their quick version."""

import logging
import runpy
import sys
from pathlib import Path

import pytest

from equicalc.pretrained import available

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("[0-9]*.py"))

shipped = pytest.mark.skipif(not available(), reason="no potential is shipped yet")


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run(path: Path, *arguments: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(FOLDER)
        monkeypatch.setattr(sys, "argv", [str(path), "--quick", *arguments])
        handlers = logging.root.handlers[:]
        try:
            runpy.run_path(str(path), run_name="__main__")
        finally:
            logging.root.handlers[:] = handlers

    return run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(run, path, capsys):
    if "EquiCalculator()" in path.read_text() and not available():
        pytest.skip("no potential is shipped yet")
    run(path)
    assert capsys.readouterr().out


def test_every_example_is_listed():
    text = (FOLDER / "README.md").read_text()
    assert [path.name for path in EXAMPLES if path.name not in text] == []


def test_molecules_to_learn_from_are_grown_as_for_users():
    from equicalc.cli.generate import CompleteOptions, GenerateOptions
    from equicalc.design.sources import Generator
    from equicalc.generators import Temperature

    script = runpy.run_path(str(FOLDER / "training" / "own_molecules.py"))
    asked = script["arguments"]().parse_args(["symphony", "qm9", "own"])
    usual = Temperature().provenance()
    for one in (asked, GenerateOptions(), CompleteOptions(), Generator()):
        assert {name: getattr(one, name) for name in usual} == usual


def check_demo(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    assert page.count("<canvas") == 2
    assert "$" not in page.split("<script>", maxsplit=1)[0]
    assert 'src="http' not in page
    table = (folder / "table.csv").read_text().splitlines()
    assert len(table) == 3
    for kind in ("relax.extxyz", "md.extxyz", "md.csv", "md.png", "relaxed.png"):
        assert (folder / f"ethanol.{kind}").stat().st_size > 0
    assert (folder / "design" / "report" / "index.html").stat().st_size > 0


def test_demo_makes_everything_anew(run, tmp_path, capsys):
    (tmp_path / "demo").mkdir()
    for left in ("ethanol.md.extxyz", "ethanol.md.extxyz.restart.npz", "table.csv"):
        (tmp_path / "demo" / left).write_text("of a run that was killed")
    run(FOLDER / "demo.py", "--calculator", "emt")
    check_demo(tmp_path / "demo")
    out = capsys.readouterr().out
    assert "Generating 6 molecules" in out
    assert "Relaxed and moved 2 molecules in" in out


@shipped
def test_demo_runs_with_the_shipped_potential(run, tmp_path):
    run(FOLDER / "demo.py")
    check_demo(tmp_path / "demo")
    report = tmp_path / "demo" / "design" / "report" / "index.html"
    assert "<canvas" in report.read_text()
