"""``python -m switchyard`` is the command ``switchyard``."""

import sys

from switchyard.cli import main

sys.exit(main())
