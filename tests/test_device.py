"""The device is never waited for: what the host may not read, losses that are looked at late, scores on their way."""

import itertools

import numpy as np
import pytest
import torch
from experiments import tiny
from test_contracts import every_pair
from torch.utils._python_dispatch import TorchDispatchMode

from llpp import loop
from llpp.divergence import LossWatch, check_weights
from llpp.errors import TrainingError
from llpp.metrics import KnownMean
from llpp.module import LearningLossModule
from llpp.scoring import evaluate
from llpp.transforms import resample
