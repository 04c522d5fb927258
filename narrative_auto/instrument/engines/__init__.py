"""The ways to put probes into code, behind one contract."""
