"""The binary format of records and of the black box: one truth for every recorder, and for whoever reads its memory.

A black box is a file: a page with a header, then blocks, each behind a header of its own, one after the other; between
two segments of the file there may be a gap, and a block begins at a page again. All numbers have the byte order of the
machine that wrote them. `c/box.h`, `c/lane.h` and `c/describe.h` write it.
"""

from __future__ import annotations

import struct

TRANSITIONS = ("", "START", "RETURN", "UNWIND", "YIELD", "RESUME")
"""The transitions' names, in the words of PEP 669; a record's kind is an index into this tuple."""

START, RETURN, UNWIND, YIELD, RESUME = range(1, 6)

RECORD = struct.Struct("<QII")
"""One record: time (ns, monotonic clock, unsigned 64 bit), site (unsigned 32 bit), transition (unsigned 32 bit)."""

WORDS_PER_RECORD = 2
"""A record as 64-bit words: the time; then the site's number low, the transition high."""

RING_RECORDS = 65_536
"""Records kept for the main thread (1 MiB); a power of two."""

THREAD_RING_RECORDS = 4_096
"""Records kept for every other thread (64 KiB); a power of two."""

CROWD_RING_RECORDS = 1_024
"""Records kept for a thread where there are many (16 KiB); a power of two."""

CROWD = 64
"""How many are many."""

# -- the black box: formats of `struct`, without the byte order

BOX_MAGIC = b"narrbox\n"
BOX_VERSION = 1
BOX_PAGE = 4_096

BYTE_ORDER = 0x01020304
"""What the header's second number reads as in the right byte order."""

HEADER = "8sIIIIQQQQII"
"""Magic, byte order, version, process, state, bytes, ns of the monotonic clock and of the wall clock at one moment,
ns of the monotonic clock when the process was seen alive last, length of the identity, functions that were released at
least once."""

IDENTITY_AT = 64
"""Where the identity begins in the header: a JSON object with what is known of the run."""

OPEN, ENDED, COPY = 1, 2, 3
"""The states of a box: in use, or left without a goodbye; ended well; a copy that was made while it was in use."""

IDENTITY_BYTES = BOX_PAGE - IDENTITY_AT - 1
"""Room for the identity."""

BLOCK = "QIIQQ"
"""Magic, kind, unused, bytes of content, bytes of it that are in use; padded to `BLOCK_SIZE`."""

BLOCK_SIZE = 64
BLOCK_MAGIC = 0x6B636F6C6272616E

LANES, RING, STACK, SUSPENDED, SITES, FREE, CRUMBS = range(1, 8)
"""The kinds of blocks."""

LANES_PER_BLOCK = 32

LANE = "QQQQIIIIBB"
"""Records written, records of the ring less one, where ring and stack are in the file (0: not in it), open calls, room
on the stack, the lane's number (0: not in use), the thread's, whether it is one of ours, whether the thread has ended.
The rest of a lane is the recorder's own, up to the thread's name, which is the last."""

LANE_NAME_SIZE = 64

ENTRY = "QQQQQQIIBB"
"""An open call: activation, unused; since when it runs or is suspended; ns that other calls took, or of a suspended one
the activation that waits for it, if that can be suspended; when it began, ns that it ran before (both of what can be
suspended alone); site, lane, whether it can be suspended, whether it is a coroutine; the rest is the recorder's own. On
a stack the first one stands below all calls. An open block has an odd number in place of its activation, and is told
like a call."""

ENTRY_SIZE = 64

DESCRIPTION = "IIIHHHH"
"""A site: bytes in all (a multiple of 4), number, line, bytes of module, name and file name, kind: 1 can be suspended,
3 is a coroutine. The three texts follow, in UTF-8."""

SAME_FILE = 0xFFFF
"""As the length of a file name: it is that of the description before."""

CRUMB = "QII"
"""A crumb's slot: number from 1 (0: nothing, or half of something), bytes of its text, unused; the text follows."""

CRUMB_SIZE = 1_024
"""Bytes of a slot."""

CRUMB_PART = "\x1f"
"""What stands between the parts of a crumb's text (UTF-8): ns since 1970 of the wall clock, thread, event, then a name
and a value in turns. Parts that are too long are cut off at the end."""

OF_CONTEXT = "\x1e"
"""What the names of those values begin with that the context gave."""
