"""From a network and a board to Verilog, a bitstream, and what both are estimated to take."""
