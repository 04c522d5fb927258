"""`python -m narrative_auto` is the command `narrative`."""

from __future__ import annotations

from narrative_auto.cli.main import main

if __name__ == "__main__":
    main()
