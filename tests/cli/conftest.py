"""Run the command line in the test's own process and folder."""

import logging
import re

import pytest
from typer.testing import CliRunner

from equicalc.checkpoint import save_checkpoint
from equicalc.cli import app
from equicalc.models import Potential, PotentialConfig


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Call ``equicalc`` with arguments; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)

    def call(*arguments, code=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        printed = result.stdout + result.stderr
        assert result.exit_code == code, printed
        return re.sub(r"\x1b\[[0-9;]*m", "", printed)

    return call


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny network with random weights, for H and O."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    config = PotentialConfig(elements=(1, 8), channels=4, layers=2, ls=(0, 1))
    card = {"level_of_theory": "none, random", "licence": "MIT", "command": "test"}
    return save_checkpoint(path, Potential(config), card)
