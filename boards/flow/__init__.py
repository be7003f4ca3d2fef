# SPDX-License-Identifier: Apache-2.0
"""From a network and a board to Verilog, a bitstream, and what both are estimated to take."""
