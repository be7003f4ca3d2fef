# SPDX-License-Identifier: Apache-2.0
"""The operators: all that is known of one, but for its hardware, stands in its file, which registers it by itself."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f".{_module.name}", __name__)
