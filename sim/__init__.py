"""What the network computes, run on a computer: golden model, cycle model and simulation."""

from . import golden
from .cycles import CycleModel, FrameCycles, LayerCycles
from .quantisation import LayerLoss, QuantisationReport, accuracy, compare
from .serve import Server
from .simulate import Build, Mismatch, Report, SimulationError, require_tools, simulate

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
           "golden",
           "require_tools",
           "simulate",
]
