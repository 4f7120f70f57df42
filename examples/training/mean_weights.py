"""The mean of the weights of several runs of one network, often better than each.

    python examples/training/mean_weights.py mean.safetensors runs/*/best.safetensors

The card is that of the first one. Runs should descend from the same weights.
"""

import argparse
from pathlib import Path

import torch

from equicalc.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description="Mean of the weights of runs.")
    parser.add_argument("output", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    given = parser.parse_args()
    (network, card), *others = map(load_checkpoint, given.checkpoints)
    states = [network.state_dict(), *(other.state_dict() for other, _ in others)]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0)
        if values.is_floating_point()
        else values
        for name, values in states[0].items()
    }
    network.load_state_dict(mean)
    note = {"mean_of": [str(path) for path in given.checkpoints]}
    save_checkpoint(given.output, network, card | note)


if __name__ == "__main__":
    main()
