"""What decides which functions are stages, and puts probes into them."""
