"""How long tests wait for what has to come: one number for all of them."""

from __future__ import annotations

__all__ = ("DEADLINE",)

DEADLINE = 300.0
"""Seconds after which a test gives up waiting for what never comes. Nothing depends on it but how long such a failure
takes: what takes a second on an idle machine takes a minute on one with thirty times as much to do as it has cores."""
