"""``equicalc design`` runs a file and goes on with it; ``report`` shows the run."""

from typing import cast

import pytest
import yaml
from ase import Atoms
from ase.io import read


@pytest.fixture
def loop(tmp_path):
    (tmp_path / "molecules.smi").write_text("CCO\nCC=O\nCCCO\nC\n")
    content = {
        "output": str(tmp_path / "run"),
        "molecules": 4,
        "source": {"files": {"paths": [str(tmp_path / "molecules.smi")]}},
        "steps": [
            {"composition": {"heavy_atoms": [2, 9]}},
            "unique",
            {"properties": {"names": ["logp", "rings"]}},
            {"score": {"goals": {"logp": 1}}},
        ],
    }
    path = tmp_path / "loop.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_design_and_report(cli, loop, tmp_path):
    out = cli("design", loop)
    assert "4 structures, 3 of them the best" in out
    assert out.index("CCCO") < out.index("CC=O")
    best = cast("list[Atoms]", read(tmp_path / "run" / "best.extxyz", ":"))
    assert [atoms.info["rank"] for atoms in best] == [1, 2, 3]
    assert cli("design", loop) == out  # nothing is left to do
    page = cli("report", tmp_path / "run" / "run.db", "-o", tmp_path / "report")
    assert "index.html" in "".join(page.split())  # a narrow terminal breaks lines
    assert "1 heavy atoms" in (tmp_path / "report" / "structures.csv").read_text()


def test_the_smallest_file_of_the_help_is_whole(cli):
    assert "steps: [valid, unique" in " ".join(cli("design", "--help").split())


def test_a_file_that_is_no_database_is_named(cli, tmp_path):
    (tmp_path / "run.db").write_text("no database, whatever its name says")
    assert "is no database" in cli("report", "run.db", code=2)


def test_mistakes_end_in_one_line(cli, loop, tmp_path):
    loop.write_text("output: run\nsteps: [relx]\n")
    assert "did you mean 'relax'" in cli("design", loop, code=2)
    assert "No such file" in cli("report", tmp_path / "none.db", code=2)
    goals = "steps: [{properties: {names: [logp]}}, {score: {goals: {logp: .nan}}}]"
    loop.write_text(f"output: run\n{goals}\n")
    assert "finite number" in cli("design", loop, code=2)


def test_a_run_without_any_good_structure_says_why(cli, loop, tmp_path):
    few = {"composition": {"heavy_atoms": [8, 9]}}
    content = yaml.safe_load(loop.read_text())
    content["steps"][0] = few
    loop.write_text(yaml.safe_dump(content))
    out = " ".join(cli("design", loop).split())
    assert "4 structures, 0 of them the best" in out
    assert "rejected: 4, for one reason 2 of them: composition: 3 heavy atoms" in out
