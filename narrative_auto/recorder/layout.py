"""The binary format of records: one truth for every recorder, and for whoever reads a recorder's memory."""

from __future__ import annotations

import struct

TRANSITIONS = ("", "START", "RETURN", "UNWIND", "YIELD", "RESUME")
"""The transitions' names, in the words of PEP 669; a record's kind is an index into this tuple."""

START, RETURN, UNWIND, YIELD, RESUME = range(1, 6)

RECORD = struct.Struct("<QII")
"""One record: time (ns, monotonic clock, unsigned 64 bit), site (unsigned 32 bit), transition (unsigned 32 bit)."""

WORDS_PER_RECORD = 2
"""A record as 64-bit words of a little-endian machine: the time; then the site's number low, the transition high."""

RING_RECORDS = 65_536
"""Records kept for the main thread (1 MiB); a power of two."""

THREAD_RING_RECORDS = 4_096
"""Records kept for every other thread (64 KiB); a power of two."""
