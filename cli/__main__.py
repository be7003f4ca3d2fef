"""``python -m tepal.cli``."""

import sys

from .main import main

sys.exit(main())
