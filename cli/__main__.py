"""``python -m tepal.cli``, the same as ``python -m tepal``."""

import sys

from tepal.__main__ import main

sys.exit(main())
