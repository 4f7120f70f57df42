"""Whatever writes as it goes refuses a place where another run is writing."""

import pytest
from ase.build import molecule
from ase.calculators.lj import LennardJones
from typer.testing import CliRunner

from equicalc.cli import app
from equicalc.cli.results import Results
from equicalc.crystals import label_crystals
from equicalc.data import read_structures
from equicalc.data.download import download
from equicalc.data.locking import locked
from equicalc.design import Design, run
from equicalc.labelling import LabelOptions, Source, label
from equicalc.simulation import molecular_dynamics, relax
from equicalc.training import config_from_dict, train


def training(folder):
    train(
        config_from_dict(
            {
                "output": str(folder),
                "data": {"train": "none"},
                "stop": {"max_epochs": 1},
            }
        )
    )


def labelling(folder):
    source = folder.with_suffix(".smi")
    source.write_text("C\n")
    label(LabelOptions(sources=(Source(str(source)),), out=str(folder), workers=1))


def designing(folder):
    run(Design.model_validate({"output": folder, "steps": ["valid"]}))


def relaxing(file):
    relax(molecule("H2O"), LennardJones(), steps=1, trajectory=file)


def moving(file):
    molecular_dynamics(molecule("H2O"), LennardJones(), steps=1, trajectory=file)


def labelling_crystals(file):
    label_crystals([], file, "exp6")


def downloading(file):
    download("http://127.0.0.1:1/file", file, md5="0")


def generating(file):
    answer = CliRunner().invoke(app, ["generate", "-n", "1", "-o", str(file)])
    raise ValueError(" ".join(answer.stderr.split()))


RUNS = {
    training: "run",
    labelling: "labels",
    designing: "design",
    relaxing: "steps.extxyz",
    moving: "md.traj",
    labelling_crystals: "labels.db",
    downloading: "archive.tar",
    generating: "molecules.extxyz",
}


@pytest.mark.parametrize("start", RUNS)
def test_a_second_run_is_refused(start, tmp_path):
    place = tmp_path / RUNS[start]
    if not place.suffix:
        place.mkdir()
    with locked(place):
        before = sorted(path.name for path in tmp_path.rglob("*"))
        with pytest.raises(ValueError, match="another process is working in"):
            start(place)
        written = sorted(path.name for path in tmp_path.rglob("*"))
        assert [name for name in written if not name.endswith(".smi")] == before


def test_calls_that_share_a_table_keep_each_others_rows(tmp_path):
    table, structures = tmp_path / "relaxed.csv", tmp_path / "relaxed.extxyz"
    first, second = (Results(table, structures, keep=True) for _ in range(2))
    first.add({"structure": "water", "energy": 1.0}, molecule("H2O"))
    second.add({"structure": "methane", "energy": 2.0}, molecule("CH4"))
    second.write()
    first.write()
    assert table.read_text().split() == ["structure,energy", "methane,2.0", "water,1.0"]
    found = read_structures(structures)
    assert [str(atoms.symbols) for atoms in found] == ["CH4", "OH2"]
