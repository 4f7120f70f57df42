"""Without Triton and without a compiler: slower, and the same answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from equicalc.pretrained import available

pytestmark = pytest.mark.skipif(
    not {"potential-gfn2", "symphony"} <= available().keys(), reason="nothing shipped"
)

ROOT = Path(__file__).parents[1]
CODE = """
import json, sys
if {no_triton}:
    sys.modules["triton"] = None  # an import of it fails
from ase.build import molecule
from equicalc import EquiCalculator
from equicalc.generators import load_builder

water = molecule("H2O")
water.calc = EquiCalculator(device="cpu", dtype="float64")
(grown,) = load_builder("symphony").generate(1, seed=3)
print(json.dumps([
    water.get_potential_energy(), water.get_forces().tolist(),
    grown.get_chemical_formula(), "triton" in sys.modules,
]))
"""


def run(folder, no_triton, path):
    """Calculate and generate in a process of its own, with an empty cache."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE.format(no_triton=no_triton)],
        env={
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "EQUICALC_CACHE": str(folder),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), sorted(folder.glob("*.so"))


@pytest.mark.slow
def test_no_triton_and_no_compiler_is_slower_and_nothing_else(tmp_path):
    bare, compiled = run(tmp_path / "bare", no_triton=True, path="")
    assert compiled == []
    full, _ = run(tmp_path / "full", no_triton=False, path=os.environ["PATH"])
    assert bare[0] == pytest.approx(full[0], abs=1e-6)
    for one, other in zip(bare[1], full[1], strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert bare[2] == full[2]
