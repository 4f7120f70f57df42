"""The command line, ``equicalc``: one small module for each subcommand.

Nothing heavy is imported before a command runs, so that ``equicalc --help`` is quick.
"""

from equicalc.cli.app import app, main

__all__ = ["app", "main"]
