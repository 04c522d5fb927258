"""Consumers of story events."""
