"""The commands that a person types."""

import os
import sys

# What a person's PYTHONPATH holds is for the program; a `signal.py` in it must not stand in for the library's here.
_FOR_PROGRAM = {os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder}
sys.path.sort(key=lambda folder: folder in _FOR_PROGRAM)
