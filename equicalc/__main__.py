"""Run the command line: ``python -m equicalc``."""

from equicalc.cli import main

if __name__ == "__main__":
    main()
