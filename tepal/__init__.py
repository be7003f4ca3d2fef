# SPDX-License-Identifier: Apache-2.0
"""Tepal turns a trained MobileNet-class network into an FPGA accelerator.

The packages are :mod:`tepal.quant`, :mod:`tepal.hdl`, :mod:`tepal.sim`, :mod:`tepal.boards`, :mod:`tepal.host` and
:mod:`tepal.cli`, each of which imports only those before it."""


def __getattr__(name: str) -> str:
    # Asking for the version reads the installed package's metadata, for which no command should wait.
    if name == "__version__":
        from importlib.metadata import version

        return version("tepal")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
