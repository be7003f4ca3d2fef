# SPDX-License-Identifier: Apache-2.0
"""How a network is computed: the engine, its schedule, and Verilog."""

from .accelerator import Accelerator
from .config import ConfigError, EngineConfig
from .export import TOP, Export, export_component, export_verilog
from .plan.memories import MemoryUse
from .plan.schedule import Schedule
from .plan.widths import Formats

__all__ = ["TOP", "Accelerator", "ConfigError", "EngineConfig", "Export", "Formats", "MemoryUse", "Schedule",
           "export_component", "export_verilog"]
