"""Every Python example of README.md runs, one after the other."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def python_blocks():
    """(line, code) of each block fenced as python."""
    text = README.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text.count("\n", 0, block.start(1)) + 1, block.group(1)


def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for line, code in python_blocks():
        # blank lines so that a traceback shows the line of the README
        exec(compile("\n" * (line - 1) + code, str(README), "exec"), names)


def test_linked_files_exist():
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", README.read_text())
    files = [README.parent / target for target in targets if "://" not in target]
    assert [file for file in files if not file.exists()] == []
