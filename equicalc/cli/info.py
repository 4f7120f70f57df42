"""``equicalc info``: what is installed and what the machine offers."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "torch-geometric", "e3nn", "ase", "rdkit", "vesin", "numpy")

EXTRAS = {
    "train": {"lightning": "lightning", "matplotlib": "matplotlib"},
    "label": {"tblite": "tblite"},
    "gpu": {"triton": "triton"},
    "mace": {"mace-torch": "mace"},
    "nequip": {"nequip": "nequip"},
    "metrics": {"posebusters": "posebusters"},
    "openbabel": {"openbabel-wheel": "openbabel"},
    "analysis": {"phate": "phate", "scikit-learn": "sklearn", "umap-learn": "umap"},
    "torchsim": {"torch-sim-atomistic": "torch_sim"},
    "design": {"ase-db-backends": "ase_db_backends"},
    "cluster": {"dask": "dask"},
}
"""Extra of the package -> distributions and the modules that they provide."""


def info() -> None:
    """Show versions, devices, compiler, cache and optional packages.

    Give its output with a report of an error.
    """
    from rich.table import Table

    from equicalc.cli.console import stdout

    for title, rows in (
        ("equicalc", _versions()),
        ("machine", _machine()),
        ("optional packages", _extras()),
    ):
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column("what", no_wrap=True)
        table.add_column("found", overflow="fold")
        for what, found in rows.items():
            table.add_row(what, found)
        stdout.print(table)


def _versions() -> dict[str, str]:
    from equicalc._version import __version__

    return {
        "equicalc": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _machine() -> dict[str, str]:
    import torch

    from equicalc.kernels.cpp import cache_directory, find_compiler
    from equicalc.pretrained import available

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [torch.cuda.get_device_name(index) for index in range(n_gpus)]
    compiler = find_compiler()
    return {
        "system": platform.platform(),
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch",
        "gpu": ", ".join(gpus) or "none",
        "C++ compiler": " ".join(compiler) if compiler else "none: kernels in torch",
        "kernel cache": str(cache_directory()),
        "shipped networks": ", ".join(available()) or "none",
    }


def _extras() -> dict[str, str]:
    rows = {}
    for extra, packages in EXTRAS.items():
        states = [
            f"{name} {_version(name)}"
            if importlib.util.find_spec(module)
            else f"{name} missing"
            for name, module in packages.items()
        ]
        hint = f'   pip install "equicalc\\[{extra}]"'
        missing = any(state.endswith("missing") for state in states)
        rows[extra] = ", ".join(states) + (hint if missing else "")
    return rows


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
