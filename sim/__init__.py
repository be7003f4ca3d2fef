"""What the network computes, run on a computer: golden model, cycle model and simulation."""

from . import golden
from .cycles import CycleModel, FrameCycles, LayerCycles
from .simulate import Build, Mismatch, Report, SimulationError, check_images, require_tools, simulate

__all__ = ["Build", "CycleModel", "FrameCycles", "LayerCycles", "Mismatch", "Report", "SimulationError",
           "check_images", "golden", "require_tools", "simulate"]
