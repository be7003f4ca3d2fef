# SPDX-License-Identifier: Apache-2.0
"""The way from a host to the accelerator and back: serial line, frames, packets, debug tap."""
