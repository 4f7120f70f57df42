"""What a run begins with: outputs, reference energies, weights of a checkpoint."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from equicalc import EquiCalculator
from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.data import PackedDataset, write_packed
from equicalc.header import read_header
from equicalc.models import Potential, PotentialConfig, evaluate
from equicalc.training import config_from_dict, train
from equicalc.training.sources import model_settings

pytestmark = pytest.mark.usefixtures("no_plots")

SMALL = {"cutoff": 4.0, "ls": (0, 1), "channels": 4, "layers": 2}
OLD, NEW = {1: -13.6, 8: -430.0}, {1: -16.0, 8: -2042.0}


@pytest.fixture
def potential(tmp_path):
    """A network with references of its own, for H and O."""
    torch.manual_seed(0)
    references = tuple(OLD.values())
    config = PotentialConfig(elements=(1, 8), reference_energies=references, **SMALL)
    return save_checkpoint(tmp_path / "first.safetensors", Potential(config), {})


@pytest.fixture
def make_run(spring_set, tmp_path):
    """Return a function: changes by section -> a run of two steps."""

    def make(**changes):
        content = {
            "output": str(tmp_path / "run"),
            "data": {
                "train": str(spring_set),
                "fractions": {"train": 0.8, "valid": 0.2},
            },
            "stop": {"max_steps": 2},
            "trainer": {"threads": 1, "progress": False, "val_every_steps": 2},
        }
        return config_from_dict(content | changes)

    return make


def settings_of(config):
    return model_settings(config, PackedDataset(config.data.train))


@pytest.fixture
def relabelled(potential, tmp_path):
    """Molecules with the network's energies, but other energies of atoms alone."""
    network, _ = load_checkpoint(potential)
    records = []
    for name in ("H2O", "H2O2", "H2", "O2", "OH"):
        atoms = molecule(name)
        record = {"z": atoms.numbers, "pos": atoms.positions}
        write_packed(tmp_path / name, [record])
        graph = PackedDataset(tmp_path / name).batch([0], 4.0)
        energy = evaluate(network, graph, ("energy",))["energy"].item()
        shift = sum(NEW[z] - OLD[z] for z in atoms.numbers)
        records.append(record | {"energy": energy + shift})
    write_packed(tmp_path / "relabelled", records)
    return str(tmp_path / "relabelled")


# charges and dipole moments


@pytest.mark.parametrize("loss", [{"dipole": 0.5}, {"charges": 0.5}, {}])
def test_electric_outputs_are_predicted_if_a_loss_trains_them(make_run, loss):
    settings = settings_of(make_run(model=SMALL, loss=loss))
    assert settings["dipole"] == bool(loss)


def test_scalars_alone_are_enough_without_a_dipole(make_run):
    assert settings_of(make_run(model=SMALL | {"ls": [0]}))["ls"] == (0,)


def test_outputs_that_no_loss_has_trained_are_not_given(make_run, potential):
    best = train(make_run(init=str(potential)))
    assert read_header(best)["card"]["not_trained"] == ["charges", "dipole"]
    water = molecule("H2O")
    before = EquiCalculator(potential, device="cpu").implemented_properties
    assert {"charges", "dipole"} <= set(before)
    water.calc = EquiCalculator(best, device="cpu")
    assert not {"charges", "dipole"} & set(water.calc.implemented_properties)
    water.get_forces()
    assert not {"charges", "dipole"} & water.calc.results.keys()


def test_losses_that_need_an_output_that_is_not_there_are_refused(make_run, tmp_path):
    plain = Potential(PotentialConfig(elements=(1, 8), dipole=False, **SMALL))
    path = save_checkpoint(tmp_path / "plain.safetensors", plain, {})
    loss = {"dipole": 1.0}
    with pytest.raises(
        ValueError, match=r"init: .*plain\.safetensors predicts neither"
    ):
        settings_of(make_run(init=str(path), loss=loss))
    with pytest.raises(ValueError, match=r"model\.dipole is false"):
        settings_of(make_run(model=SMALL | {"dipole": False}, loss=loss))


# reference energies


def test_references_are_what_the_network_does_not_explain(
    make_run, potential, relabelled
):
    run = make_run(init=str(potential), data={"train": relabelled})
    found = settings_of(run)["reference_energies"]
    assert found == pytest.approx((*NEW.values(),), abs=1e-3)


def test_references_that_the_data_do_not_determine_stay(
    make_run, potential, relabelled, tmp_path
):
    dataset = PackedDataset(relabelled)
    h2 = dataset[2]
    record = {"z": h2["z"], "pos": h2["pos"], "energy": h2["energy"]}
    write_packed(tmp_path / "h2", [record])
    run = make_run(init=str(potential), data={"train": str(tmp_path / "h2")})
    expected = (NEW[1], OLD[8])
    assert settings_of(run)["reference_energies"] == pytest.approx(expected, abs=1e-3)


def test_isolated_atoms_keep_their_energies(make_run, potential, relabelled, tmp_path):
    atom = {"z": [8], "pos": [[0, 0, 0]], "energy": -2000.0}
    other = {"z": [17], "pos": [[0, 0, 0]], "energy": -1.0}
    write_packed(tmp_path / "atoms", [atom, other])
    data = {"train": relabelled, "isolated_atoms": str(tmp_path / "atoms")}
    run = make_run(init=str(potential), data=data)
    settings = settings_of(run)
    assert settings["reference_energies"][1] == -2000.0
    # and the network of the run gives exactly that to the atom
    torch.manual_seed(0)
    calc = EquiCalculator(Potential(PotentialConfig(**settings)), device="cpu")
    assert calc.get_potential_energy(Atoms("O")) == pytest.approx(-2000.0, abs=1e-9)


def test_references_may_be_given_without_elements(make_run):
    run = make_run(model=SMALL | {"reference_energies": [-13.6, -2042.0, -1.0]})
    with pytest.raises(ValueError, match="3 reference energies for 2 elements"):
        settings_of(run)
    run = make_run(model=SMALL | {"reference_energies": [-13.6, -2042.0]})
    assert settings_of(run)["reference_energies"] == (-13.6, -2042.0)


def test_rare_elements_are_in_the_sample(make_run, potential, tmp_path):
    rng = np.random.default_rng(0)
    pair = {"z": [1, 1], "energy": 2 * NEW[1]}
    records = [
        pair | {"pos": [[0, 0, 0], [5 + rng.random(), 0, 0]]} for _ in range(1500)
    ]
    records[700] = {
        "z": [1, 8],
        "pos": [[0, 0, 0], [9, 0, 0]],
        "energy": sum(NEW.values()),
    }
    write_packed(tmp_path / "rare", records)
    run = make_run(init=str(potential), data={"train": str(tmp_path / "rare")})
    found = settings_of(run)["reference_energies"]
    assert found == pytest.approx((*NEW.values(),), abs=1e-3)


# weights


def test_elements_that_the_checkpoint_lacks_are_named(make_run, potential):
    run = make_run(init=str(potential), model={"elements": [1, 6, 8]})
    with pytest.raises(ValueError, match=r"elements \[1, 8\], but .*: leave these out"):
        settings_of(run)
    write = {"z": [6, 8], "pos": [[0, 0, 0], [1.1, 0, 0]], "energy": -1.0}
    write_packed(potential.parent / "co", [write])
    run = make_run(init=str(potential), data={"train": str(potential.parent / "co")})
    with pytest.raises(ValueError, match=r"the data hold \[6\] too"):
        settings_of(run)


def test_another_shape_than_the_checkpoints_is_one_sentence(make_run, potential):
    run = make_run(init=str(potential), model={"channels": 8, "layers": 1})
    with pytest.raises(
        ValueError, match="channels 4 and not 8, layers 2 and not 1; "
    ) as e:
        train(run)
    assert len(str(e.value)) < 250 + len(str(potential))
    assert "\n" not in str(e.value)


# the card


def test_card_names_the_program_that_trained(make_config, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/me/my_run.py", "--quick"])
    best = train(make_config(stop={"max_steps": 1}, trainer={"val_every_steps": 1}))
    assert read_header(best)["card"]["command"] == "my_run.py --quick"
