# SPDX-License-Identifier: Apache-2.0
"""Float networks to integer ones."""
