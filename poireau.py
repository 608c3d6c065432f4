#!/usr/bin/env python3
"""Entry point of a checkout: `./poireau.py` is `python3 -m poireau`."""

import sys

try:
    from poireau.cli import main

    sys.exit(main())
except KeyboardInterrupt:  # while it is still being imported
    sys.exit(130)
