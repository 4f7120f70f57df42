"""Make training data: distort molecules and label them with GFN2-xTB."""

import sys
from pathlib import Path

from equicalc.data.packed import PackedDataset
from equicalc.labelling import LabelOptions, Source, label

Path("molecules.smi").write_text("O water\nCO methanol\nC=O formaldehyde\n")

if __name__ == "__main__":  # label() starts processes
    options = LabelOptions(
        sources=(Source("molecules.smi", frames=5 if "--quick" in sys.argv else 100),),
        out="labels",
        workers=1,
    )
    dataset = PackedDataset(label(options))
    print(f"{len(dataset)} structures with {', '.join(dataset.fields)}")

# the same on the command line:  equicalc label molecules.smi --frames 100
