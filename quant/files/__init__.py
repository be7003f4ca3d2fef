"""Model files as the operators in :mod:`tepal.quant.ops` see them while they are read."""
