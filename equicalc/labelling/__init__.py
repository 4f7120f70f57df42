"""Training data: molecules, distorted in many ways and labelled by any calculator.

A run reads molecules (`Source`), plans its work (`plan`), makes structures
(`sampling`, `geometry`), labels them in worker processes (`pool`, `worker`), and keeps
what is finished in shards (`shards`), which end as one packed data set.

Limits of the default level of theory, GFN2-xTB: a tight-binding method made for
geometries, frequencies and non-covalent interactions near equilibrium. Every structure
but single atoms and pairs of atoms is a closed-shell singlet with the electrons at
300 K, so that energies along a breaking bond end above two radicals; singlet oxygen
stands for oxygen.

References
----------
C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

from equicalc.labelling.options import LabelOptions, Source, load_options
from equicalc.labelling.run import Progress, label
from equicalc.labelling.shards import pack_shards

__all__ = [
    "LabelOptions",
    "Progress",
    "Source",
    "label",
    "load_options",
    "pack_shards",
]
