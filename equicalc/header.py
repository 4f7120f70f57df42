"""Headers of model files: what a network is and what it is worth, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

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
    try:
        return safe_open(str(path), framework=framework)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): truncated, or of "
            "another format; download or copy it again"
        ) from None


def parsed_header(metadata: dict[str, str] | None, path: Path) -> dict[str, Any]:
    """Read the header's JSON; foreign files are refused."""
    try:
        header = {key: json.loads(value) for key, value in (metadata or {}).items()}
    except json.JSONDecodeError:
        header = {}
    missing = {"format", "model", "card", "sha256"} - header.keys()
    if missing or header["format"] != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file, but not a model of equicalc (no header "
            f"{FORMAT!r}): give a file written by `equicalc train`"
        )
    return header
