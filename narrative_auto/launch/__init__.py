"""How a program is started with its recorder."""
