# SPDX-License-Identifier: Apache-2.0
"""Model files as the operators in :mod:`tepal.quant.ops` see them while they are read."""
