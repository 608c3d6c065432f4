"""The commands that answer in files: export, pack, serve."""

from __future__ import annotations

import argparse


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Their parsers."""
