"""An exception as an immutable, redacted failure."""
