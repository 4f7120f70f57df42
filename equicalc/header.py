"""Headers of model files: what a network is and what it is worth, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open

from equicalc.data.damage import naming

__all__ = ["FORMAT", "opened", "parsed_header", "read_header"]

FORMAT = "equicalc-model-1"


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the header of a model file without reading its tensors.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, corrupt or no model of this package.
    """
    with opened(Path(path), "numpy") as file:
        return parsed_header(file.metadata(), Path(path))


def opened(path: Path, framework: Literal["pt", "numpy"]) -> safe_open:
    """Open a safetensors file, with errors that say what to do."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no model file {path}; `equicalc models` lists the shipped ones"
        )
    with naming(path, "is not a whole safetensors file: download or copy it again"):
        return safe_open(str(path), framework=framework)


def parsed_header(metadata: dict[str, str] | None, path: Path) -> dict[str, Any]:
    """Read the header's JSON; foreign files are refused."""
    try:
        header = {key: json.loads(value) for key, value in (metadata or {}).items()}
    except (ValueError, RecursionError):
        header = {}
    parts = {"model": dict, "card": dict, "sha256": str}
    whole = all(isinstance(header.get(name), kind) for name, kind in parts.items())
    if not whole or header.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file, but not a model of equicalc (no header "
            f"{FORMAT!r}): give a file written by `equicalc train`"
        )
    model = header["model"]
    if not isinstance(model.get("name"), str) or not isinstance(
        model.get("config"), dict
    ):
        raise ValueError(f"{path} does not tell its model or the model's configuration")
    return header
