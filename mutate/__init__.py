"""Mechanical mutants of the reference implementation: which of them the conformance suite and the unit tests kill."""
