"""The file of the examples, killed again and again, ends like a run left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from equicalc.design import RunDatabase

ROOT = Path(__file__).parents[2]
SECONDS = 4.0  # more of life for every attempt
SMALL = {"rounds": 2, "molecules": 10, "best": {"n": 4, "per_molecule": 2}}
FEWER = {"top": {"n": 1}, "pack": {"spacegroups": [2], "n": 2}}


@pytest.fixture
def loop(tmp_path):
    """The loop with all its steps, and fewer structures."""
    content = yaml.safe_load((ROOT / "examples/configs/loop.yaml").read_text())
    steps = [
        {name: FEWER.get(name, step[name]) for name in step}
        if isinstance(step, dict)
        else step
        for step in content["steps"]
    ]
    path = tmp_path / "loop.yaml"
    path.write_text(yaml.safe_dump(content | SMALL | {"steps": steps}))
    return path


def design(loop, output, timeout=None):
    """Run it; a timeout ends in SIGKILL."""
    return subprocess.run(
        [sys.executable, "-m", "equicalc", "design", str(loop), "-o", str(output)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=timeout,
        check=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_loop_of_the_examples_survives_kills(loop, tmp_path, same_records):
    pytest.importorskip("tblite")
    design(loop, tmp_path / "alone")
    kills = 0
    for attempt in range(1, 60):
        try:
            design(loop, tmp_path / "killed", timeout=SECONDS * (attempt + 1))
            break
        except subprocess.TimeoutExpired:
            kills += 1
    assert kills
    runs = [RunDatabase(tmp_path / name / "run.db") for name in ("alone", "killed")]
    assert same_records(*runs)
