"""Measures what recording costs, against the same programs without it."""
