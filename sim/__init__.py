"""What the network computes, run on a computer: golden model, cycle model and simulation."""

from . import golden
from .cycles import CycleModel, FrameCycles, LayerCycles
from .hazards import conflicts, slacks
from .quantisation import LayerLoss, QuantisationReport, accuracy, compare
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
           "FrameCycles",
           "LayerCycles",
           "LayerLoss",
           "Mismatch",
           "QuantisationReport",
           "Report",
           "Server",
           "SimulationError",
           "accuracy",
           "compare",
           "conflicts",
           "first_mismatch",
           "golden",
           "layer_tensors",
           "require_tools",
           "simulate",
           "slacks",
           "stage_words",
]
