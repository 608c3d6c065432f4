"""Estimates of many totals at once: estimate.py's arithmetic on columns."""

from __future__ import annotations
