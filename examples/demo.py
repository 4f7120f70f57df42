"""Design molecules and crystals, then relax a handful of others and move them.

    python examples/demo.py [--quick] [--calculator gfn2] [--output demo]

First the whole loop: 200 generated molecules, the valid ones relaxed, the best five
packed in three space groups and scored, with a report. Then six molecules, some by
SMILES, some from files, relaxed and moved for 2 ps, with trajectories, plots and
pictures. Repeating it replaces everything in the output folder.
"""

import argparse
import logging
import time
from pathlib import Path

import demo_loop
import demo_motion


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="much less of everything")
    parser.add_argument("--calculator", default="equicalc", help="also gfn2, ...")
    parser.add_argument("--output", type=Path, default=Path("demo"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    started = time.perf_counter()
    args.output.mkdir(parents=True, exist_ok=True)
    print(
        f"Calculator: {args.calculator}. Everything goes into {args.output}/; this "
        "takes a few minutes.\n"
    )
    report = demo_loop.design(args.calculator, args.output / "design", args.quick)
    print()
    page = demo_motion.move(args.calculator, args.output, args.quick)
    print(
        f"\nAll of it took {time.perf_counter() - started:.0f} s.\n"
        f"The molecules and crystals that were designed: {report}\n"
        f"Molecules in motion: {page}\n"
        f"Trajectories, tables, plots and pictures: {args.output}/"
    )


if __name__ == "__main__":
    main()
