"""Configurations: the examples load, mistakes are named with line and cure."""

from pathlib import Path

import pytest

from equicalc.training import config_from_dict, load_config
from equicalc.training.config import seconds
from equicalc.training.sources import expand_path

CONFIGS = Path(__file__).parents[2] / "configs"
EXAMPLES = ["potential-gfn2", "acac", "3bpa", "rmd17-ethanol", "rmd17-aspirin"]
MINIMAL = "output: run\ndata:\n  train: set\nstop:\n  max_steps: 5\n"


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load_config(path)

    return load_text


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_loads(name):
    config = load_config(CONFIGS / f"{name}.yaml")
    assert {"energy", "forces"} <= config.loss.weights().keys()
    assert config.stop.max_time is not None


def test_minimal_file_takes_the_defaults(load):
    config = load(MINIMAL)
    assert config.optimizer.batch_size == 16
    assert config.optimizer.betas == (0.9, 0.999)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("optimiser: {lr: 1}\n", r"yaml:6: optimiser: .* mean 'optimizer'\?"),
        ("optimizer:\n  lr: 1\n  batchsize: 4\n", r":8: .*mean 'batch_size'\?"),
        ("optimizer:\n  lr: fast\n", r":7: optimizer\.lr: .*number.*'fast'"),
        ("optimizer: {schedule: cosin}\n", r":6: optimizer\.schedule: .*'cosine'"),
        ("model: {cutof: 4}\n", r":6: model\.cutof: .*mean 'cutoff'\?"),
        ("model: {channels: many}\n", r":6: model\.channels: .*integer.*'many'"),
        ("loss: {kind: {force: l1}}\n", r":6: loss\.kind\.force: .*'forces'"),
        ("loss: {energy: 0, forces: 0}\n", r"loss: no term has a positive weight"),
        ("task: potentiel\n", r":6: task: unknown model 'potentiel'"),
        ("optimizer:\n  batch_size: 0\n", r":7: optimizer\.batch_size: 0; give 1"),
        ("optimizer: {batch_size: -4}\n", r"optimizer\.batch_size: -4; give 1 or"),
        ("optimizer: {lr: .nan}\n", r":6: optimizer\.lr: nan; give a number above"),
        ("optimizer: {ema_decay: 2}\n", r"optimizer\.ema_decay: 2\.0; give a number"),
        ("optimizer: {betas: [1, 2]}\n", r"optimizer\.betas: .*below 1"),
        ("loss: {forces: -1}\n", r"loss\.forces: -1\.0; give 0 or more"),
        ("trainer: {log_every: 0}\n", r"trainer\.log_every: 0; give 1 or more"),
        ("trainer: {threads: 0}\n", r"trainer\.threads: 0; give 1 or more"),
        ("trainer: {device: gpuu}\n", r"trainer\.device: .*'cuda'.*'gpuu'"),
        ("seed: -1\n", r":6: seed: -1; give 0 or more"),
        ("model: {channels: 0}\n", r":6: model\.channels: 0; give a number above 0"),
        ("model: {layers: -8}\n", r"model\.layers: -8; give a number above 0"),
        ("model: {cutoff: .nan}\n", r"model\.cutoff: nan; give a number above 0"),
    ],
)
def test_mistake_is_named_with_its_line(load, extra, message):
    with pytest.raises(ValueError, match=message):
        load(MINIMAL + extra)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("fractions: {train: 0.9, vaild: 0.1}", r"data\.fractions: .*train, valid, t"),
        ("fractions: {train: 0.9, test: 0.1}", r"data\.fractions: .*share of valid"),
        ("fractions: {valid: 1.0}", r"data\.fractions: .*share of train"),
        ("fractions: {train: -1, valid: 1}", r"data\.fractions: .*none below 0"),
        ("n_train: 0", r":4: data\.n_train: 0; give 1 or more"),
        ("max_force: -1", r"data\.max_force: -1\.0; give a number above 0"),
    ],
)
def test_senseless_data_sections_are_refused(load, data, message):
    with pytest.raises(ValueError, match=message):
        load(MINIMAL.replace("stop:", f"  {data}\nstop:"))


def test_time_alone_limits_a_run(load):
    config = load("output: r\ndata: {train: s}\nstop: {max_time: 90}\n")
    assert not config.stop.counted


def test_changes_go_before_the_file_and_are_checked_with_it(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("data: {train: s}\nstop: {max_steps: 5}\n")
    changes = {"output": "r", "stop": {"max_time": "0:30"}}
    config = load_config(path, changes)
    stop = config.stop
    assert (config.output, stop.max_steps, stop.max_time) == ("r", 5, "0:30")
    path.write_text("data: {train: s}\n")
    assert load_config(path, changes).stop.max_time == "0:30"
    with pytest.raises(ValueError, match=r"stop\.max_time: soon; give HH:MM:SS"):
        load_config(path, changes | {"stop": {"max_time": "soon"}})


@pytest.mark.parametrize(
    "model",
    [
        "{reference_energies: [-13.6, -1030.0, -2042.0]}",
        "{reference_energies: [-13.6]}",
        "{ls: [0]}",
    ],
)
def test_models_are_checked_without_the_elements_of_the_data(load, model):
    assert load(f"{MINIMAL}model: {model}\n").model


def test_constants_of_several_targets_need_no_elements(load):
    properties = "task: qm9net\nproperties: {targets: [gap, mu]}\n"
    config = load(f"{MINIMAL}{properties}model: {{means: [1, 2]}}\n")
    assert config.model == {"means": [1, 2]}


def test_a_file_to_validate_on_needs_no_share(load):
    data = "  valid: other\n  fractions: {train: 1.0}\n"
    assert load(MINIMAL.replace("stop:", f"{data}stop:")).data.valid == "other"


def test_all_mistakes_are_named_at_once(load):
    with pytest.raises(ValueError, match=r"(?s)seeed.*cutof|trian.*seeed"):
        load("output: run\ndata: {trian: set}\nseeed: 1\nstop: {max_steps: 1}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("- 1\n", "must hold keys and values"),
        ("output: run\n", "data: missing"),
        (
            "output: r\ndata: {train: s}\n",
            "stop: give max_epochs, max_steps or max_time",
        ),
        ("output: r\ndata: {train: s}\nstop: {max_time: 90m}\n", "HH:MM:SS"),
        ("output: r\ndata: {train: s}\nstop: {max_steps: -5}\n", "max_steps: -5"),
    ],
)
def test_unusable_file_says_why(load, text, message):
    with pytest.raises(ValueError, match=message):
        load(text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


def test_dictionary_is_checked_too():
    with pytest.raises(ValueError, match=r"^data\.trian: .*'train'"):
        config_from_dict({"output": "run", "data": {"trian": "set"}})


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("01:30:00", 5400), ("2:05", 125), (90, 90), ("1.5", 1.5)],
)
def test_duration_in_seconds(duration, expected):
    assert seconds(duration) == expected


@pytest.mark.parametrize("duration", ["", "1h", "1:2:3:4", "-5", "nan", "inf"])
def test_no_duration_is_an_error(duration):
    with pytest.raises(ValueError, match="HH:MM:SS"):
        seconds(duration)


def test_variables_in_paths_are_replaced(monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/data")
    assert expand_path("${SOMEWHERE}/set") == Path("/data/set")
    assert expand_path("~/set").is_absolute()


def test_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(ValueError, match="NOWHERE is not set"):
        expand_path("$NOWHERE/set")


def test_compiled_potentials_are_not_regularised(load):
    extra = "trainer: {compile: true}\nregularise: {irrep_dropout: 0.1}\n"
    assert load(MINIMAL + extra.splitlines()[0] + "\n").trainer.compile
    with pytest.raises(ValueError, match="leave out one of the two"):
        load(MINIMAL + extra)
