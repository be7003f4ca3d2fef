# SPDX-License-Identifier: Apache-2.0
"""What the network computes, run on a computer: golden model, cycle model and simulation."""

from . import golden
from .cycles import CycleModel, FrameCycles, LayerCycles
from .engine import EngineRun, run_engine
from .hazards import conflicts, slacks
from .quantisation import LayerLoss, QuantisationReport, accuracy, measure_losses
from .serve import Server
from .simulate import (
    Build,
    Mismatch,
    Report,
    SimulationError,
    first_mismatch,
    layer_tensors,
    require_tools,
    simulate,
    stage_words,
)

__all__ = [
           "Build",
           "CycleModel",
           "EngineRun",
           "FrameCycles",
           "LayerCycles",
           "LayerLoss",
           "Mismatch",
           "QuantisationReport",
           "Report",
           "Server",
           "SimulationError",
           "accuracy",
           "conflicts",
           "first_mismatch",
           "golden",
           "layer_tensors",
           "measure_losses",
           "require_tools",
           "run_engine",
           "simulate",
           "slacks",
           "stage_words",
]
