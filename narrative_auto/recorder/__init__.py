"""The event buffer that probes write to, and how it is read."""
