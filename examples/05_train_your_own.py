"""Train a tiny potential on the data of a calculator, and use it.

The labels here come from ASE's EMT, so that this runs in seconds; put your own frames
with energies and forces (any format that ASE reads) in their place.
"""

import sys

import numpy as np
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import write

from equicalc import EquiCalculator
from equicalc.simulation import relax
from equicalc.training import config_from_dict, train

epochs = 3 if "--quick" in sys.argv else 60

# 1. labelled frames
random = np.random.default_rng(0)
frames = []
for name in ("H2O", "CH3OH", "H2CO", "CH4", "H2O2", "C2H6"):
    relaxed = relax(molecule(name), EMT()).atoms
    for _ in range(30):
        frame = relaxed.copy()
        frame.positions += random.normal(scale=0.05, size=frame.positions.shape)
        frame.calc = EMT()
        frame.get_forces()
        frames.append(frame)
write("frames.extxyz", frames)

# 2. training; the same as a YAML file for:  equicalc train config.yaml
config = config_from_dict(
    {
        "output": "runs/tiny",
        "data": {
            "train": "frames.extxyz",
            "fractions": {"train": 0.8, "valid": 0.2},
        },
        "model": {
            "cutoff": 4.0,
            "ls": [0, 1],
            "channels": 8,
            "layers": 2,
            "dipole": False,
        },
        "stop": {"max_epochs": epochs},
    }
)
best = train(config, resume=False)

# 3. the result is a calculator
water = molecule("H2O")
water.calc = EquiCalculator(best)
print(f"{best}: {water.get_potential_energy():.3f} eV")
water.calc = EMT()
print(f"EMT: {water.get_potential_energy():.3f} eV")
