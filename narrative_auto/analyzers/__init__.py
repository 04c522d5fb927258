"""Asks a language model why something failed."""
