"""The commands that answer in words: top, diff. What they need of numpy and pandas is imported when they run."""

from __future__ import annotations

import argparse


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Their parsers."""
