"""What is decided before there is hardware: from a network to passes, places, cycles and the contents of ROMs."""
