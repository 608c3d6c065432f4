#!/usr/bin/env python3
"""Entry point of a checkout: `./poireau.py` is `python3 -m poireau`."""

import sys

from poireau.cli import main

sys.exit(main())
