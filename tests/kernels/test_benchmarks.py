"""The benchmarks compare before they time, and compute what they print."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from equicalc.graph import neighbor_list
from equicalc.kernels.benchmarks import (
    __main__,
    accuracy,
    calculator,
    convolution,
    plain_e3nn,
    uvw,
)
from equicalc.kernels.benchmarks.report import write_results
from equicalc.kernels.benchmarks.structures import box, ethanol_cluster
from equicalc.kernels.benchmarks.timing import WARM, check_close, check_steps, medians
from equicalc.models import Potential, PotentialConfig, evaluate

ROOT = Path(__file__).parents[2]
CONFIG = PotentialConfig(
    elements=(1, 8), channels=4, layers=3, radial_hidden=(5,), energy_scale=2.0
)


def test_what_differs_from_its_reference_is_not_timed():
    def wrong_derivative(x):
        return torch.sin(x) - (x - x.detach()) * 1e-2

    x = torch.rand(5)
    check_steps("sine", (torch.sin, torch.sin), [x], x, [x], 1e-4)
    with pytest.raises(RuntimeError, match=r"backward differs .* not timed"):
        check_steps("sine", (wrong_derivative, torch.sin), [x], x, [x], 1e-4)


def test_a_result_that_is_not_a_number_is_refused():
    with pytest.raises(RuntimeError, match="differs"):
        check_close("it", torch.tensor([float("nan")]), torch.ones(1), 1.0)


def test_columns_do_not_take_the_place_of_versions(tmp_path):
    with pytest.raises(ValueError, match="e3nn"):
        write_results(tmp_path / "out.csv", [{"e3nn": "1e-7"}], "cpu")


def test_errors_of_both_packages_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "N_VECTORS", 100)
    monkeypatch.setattr(accuracy, "DTYPES", (torch.float32,))
    accuracy.run("cpu", tmp_path / "accuracy.csv", 1)
    lines = (tmp_path / "accuracy.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines))
    assert len(rows) == 11
    for row in rows:
        bound = 3 * float(row["e3nn_error"]) + 1e-7
        assert float(row["equicalc_error"]) <= bound, row


def test_results_are_saved_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmarks", "spherical-harmonics"])

    def measured(device, out, rounds):
        write_results(out, [{"rounds": rounds}], device)

    monkeypatch.setitem(__main__.BENCHMARKS, "harmonics", measured)
    __main__.main()
    with Path("spherical_harmonics_cpu.csv").open() as file:
        assert next(csv.DictReader(file))["rounds"] == "9"


def test_every_run_is_measured():
    calls = []
    times = medians({"a": lambda: calls.append(1)}, "cpu", rounds=3)
    assert times["a"] >= 0
    assert len(calls) == 2 + (WARM + 1) * 3


def test_convolutions_agree_with_the_definition():
    convolution.check(convolution.Case(1, 4, 60, "cpu"))
    uvw.check(uvw.Case(1, 2, "cpu", n_nodes=2))


def test_peak_memory_is_that_of_what_lives_at_once():
    def squares():
        for _ in range(3):
            torch.ones(1000).square_()

    assert 4000 <= uvw.peak_bytes(squares) < 8000


@pytest.mark.parametrize("dipole", [True, False])
def test_the_plain_network_is_the_same_network(dipole):
    torch.manual_seed(0)  # the sum of the energies may cancel
    config = PotentialConfig(**{**vars(CONFIG), "dipole": dipole})
    potential = Potential(config)
    twin = plain_e3nn.plain_twin(potential)
    graph = box(12, config.elements, config.cutoff)
    plain_e3nn.check_twin(potential, twin, graph)
    if dipole:
        outputs = ("dipole", "charges", "embedding")
        ours, theirs = (evaluate(m, graph, outputs) for m in (potential, twin))
        for name in outputs:
            torch.testing.assert_close(theirs[name], ours[name], rtol=1e-4, atol=1e-5)


def test_a_network_with_other_weights_is_not_its_twin():
    torch.manual_seed(0)
    other = plain_e3nn.plain_twin(Potential(CONFIG))
    graph = box(12, CONFIG.elements, CONFIG.cutoff)
    with pytest.raises(RuntimeError, match="not timed"):
        plain_e3nn.check_twin(Potential(CONFIG), other, graph)


@pytest.mark.parametrize("n_atoms", [20, 216])
def test_neighbours_of_a_box_are_right(n_atoms):
    graph = box(n_atoms, (1, 8), 5.0)
    src, dst, shifts = neighbor_list(
        graph["pos"].numpy(), graph["cell"][0].numpy(), graph["pbc"][0].numpy(), 5.0
    )
    found = torch.cat([graph["edge_index"].T, graph["edge_shift"].long()], 1)
    wanted = zip(src, dst, *shifts.T, strict=True)
    assert set(map(tuple, found.tolist())) == {tuple(map(int, e)) for e in wanted}
    assert (graph["edge_index"][1].diff() >= 0).all()


def test_clusters_have_the_density_of_the_liquid():
    atoms = ethanol_cluster(27)
    lengths = atoms.positions.max(0) - atoms.positions.min(0)
    assert len(atoms) == 27 * 9
    assert 60 < lengths.prod() / 27 < 110  # Angstrom^3; 97 with the outermost gaps
    distances = atoms.get_all_distances() + 10 * torch.eye(len(atoms)).numpy()
    assert distances.min() > 0.8


def rows(ours, peer):
    sizes = (10, 100, 1000)
    return [
        {"n_atoms": n, "contender": name, "ms": ms}
        for name, times in (("ours", ours), ("peer", peer))
        for n, ms in zip(sizes, times, strict=False)
    ]


def test_crossing_point():
    cross = calculator.crossing
    # t = n against t = n^3 / 1000^1: equal at n = sqrt(1000)
    assert cross(rows([10, 100, 1000], [1, 1e3, 1e6]), "ours", "peer") == (
        pytest.approx(1000**0.5)
    )
    assert cross(rows([1, 2, 3], [2, 4, 6]), "ours", "peer") == 10
    assert cross(rows([2, 4, 6], [1, 2, 3]), "ours", "peer") is None
    assert cross(rows([1, 2, 3], []), "ours", "peer") is None


def test_a_machine_with_a_gpu_needs_no_chemistry_packages():
    code = (
        "import sys\n"
        "for name in 'ase rdkit vesin tblite mace matplotlib rich'.split():\n"
        "    sys.modules[name] = None\n"
        "from equicalc.kernels.benchmarks import __main__, calculator, model\n"
        "assert model.mace('cpu', 1) == []\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_cost_per_edge_is_counted():
    operations, size = convolution.work_per_edge(0, 8)
    assert operations == 2 * 8 * 2  # one product and one weight per channel
    assert size == 4 * (8 * (1 + 1 + 1 / 40) + 1) + 16
