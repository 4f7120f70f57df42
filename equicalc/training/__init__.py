"""Training: from a YAML file and labelled structures to weights and their errors."""

from equicalc.training.config import TrainConfig
from equicalc.training.config_file import config_from_dict, load_config
from equicalc.training.evaluation import evaluate_dataset
from equicalc.training.fit import train

__all__ = [
    "TrainConfig",
    "config_from_dict",
    "evaluate_dataset",
    "load_config",
    "train",
]
