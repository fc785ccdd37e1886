"""Allow `python -m lmstrix.lmstudio.plugin`."""

from __future__ import annotations

import sys

from lmstrix.lmstudio.plugin.command import main

if __name__ == "__main__":
    sys.exit(main())
