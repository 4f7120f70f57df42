"""Design: steps by themselves in a few lines, then a loop that learns, then a report.

python examples/40_design.py [--quick]
"""

import sys
from pathlib import Path

from equicalc.design import (
    Design,
    Files,
    Generator,
    MonteCarlo,
    Properties,
    Score,
    Synthesizable,
    Unique,
    Valid,
    open_database,
    run,
)
from equicalc.design.report import write_report

quick = "--quick" in sys.argv

# 1. Steps are functions of streams: what goes on comes out, knowing more than before
molecules = Generator().fresh(range(4 if quick else 32), seed=0)
easy = Synthesizable(at_most=4.0)(Valid()(molecules))
for atoms in Properties(names=("dipole_moment", "gap"))(easy):
    print(f"{atoms.info['smiles']:24s} {atoms.info['gap']:.1f} eV")


# 2. A loop needs a score: any function of a list of structures
def score(structures):
    """Polar molecules with few atoms."""
    return [a.info["dipole_moment"] - 0.1 * len(a) for a in structures]


Path("start.smi").write_text("CCO\nCC=O\nCCN\nCC#N\n")
design = Design(
    output=Path("designed"),
    rounds=2 if quick else 5,
    molecules=4 if quick else 32,
    source=Files(paths=(Path("start.smi"),)) if quick else Generator(),
    steps=(
        Valid(),
        Unique(),
        Properties(names=("dipole_moment", "logp")),
        Score(function=score),
    ),
    search=MonteCarlo(),
)
for record in run(design)[:5]:  # the same call after a stop goes on
    print(record.key, record.atoms.info["smiles"], record.atoms.info["score"])

# 3. Everything is in the database; a page shows it
print(write_report(open_database(design), Path("designed") / "report"))
