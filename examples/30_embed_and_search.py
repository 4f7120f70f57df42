"""Molecules as vectors: embed them, search for similar ones, fit a property.

The vectors are the features of a trained network; give the file of your own
checkpoint instead of "potential" and it works the same.
"""

import sys

import numpy as np
from ase.build import molecule
from ase.collections import g2
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from equicalc import Embedder
from equicalc.embedding import EmbeddingTransformer, write_embedding

quick = "--quick" in sys.argv
embedder = Embedder.from_pretrained("potential")

# 1. features by irrep: scalars, vectors, tensors of every atom
ethanol = molecule("CH3CH2OH")
for irrep, block in embedder.embed(ethanol).items():
    print(f"{irrep}: (atoms, channels, components) = {block.shape}")

# 2. which molecules of a list are most like it?
names = [
    name
    for name in g2.names
    if set(g2[name].numbers) <= set(embedder.elements)
    and len(g2[name]) > 2
    and not g2[name].get_initial_magnetic_moments().any()  # closed shells
]
names = names[:40] if quick else names
library = [molecule(name) for name in names]
found = embedder.index(library).nearest(ethanol, k=4)
for k, distance in zip(found.indices, found.distances):
    print(f"{names[k]:12} {distance:.3f}")

# 3. a property from the vectors, in a pipeline of scikit-learn
masses = np.array([atoms.get_masses().sum() for atoms in library])
regression = make_pipeline(
    EmbeddingTransformer("potential", pooling="sum"),
    RidgeCV(alphas=np.logspace(-6, 2, 9)),
)
predicted = cross_val_predict(regression, library, masses, cv=5)
print(f"mass, mean error of unseen molecules: {abs(predicted - masses).mean():.2f} amu")

# 4. to disk, for other programs; the same as: equicalc embed FILE -o molecules.csv
write_embedding("molecules.csv", embedder, library, level="molecule", names=names)
