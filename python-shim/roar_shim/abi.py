"""Layout of the attribution page and the magic paths.

The same numbers as ``roar-tracee/src/abi.rs``, where their meaning is written down;
``tests/shim/test_shim.py`` compares the two.
"""

MAGIC = int.from_bytes(b"ROARPAGE", "little")
VERSION = 3

VERSION_AT = 8
ONLY_RUNNING = 16
MANY = 2**64 - 1
ISSUED = 24
CONTEXT_LEN = 32
OBJECTS_TAKEN = 40
OBJECTS_LOST = 48
CONTEXT = 64

SLOTS = 4096
CONTEXT_MAX = SLOTS - CONTEXT
SLOT_COUNT = 4096
SLOT_SIZE = 16

ENTRIES = SLOTS + SLOT_COUNT * SLOT_SIZE
ENTRY_COUNT = 4096
ENTRY_SIZE = 64
DIRTY = ENTRIES + ENTRY_COUNT * ENTRY_SIZE

STRINGS = DIRTY + ENTRY_COUNT * 8
STRINGS_SIZE = 256 * 1024

OBJECTS = STRINGS + STRINGS_SIZE
OBJECT_COUNT = 4096
OBJECT_SIZE = 96
PAGE_SIZE = OBJECTS + OBJECT_COUNT * OBJECT_SIZE

# Offsets within a record of an object.
OBJECT_SEQUENCE = 0
OBJECT_NUMBER = 8
OBJECT_LENGTH = 16
OBJECT_ID = 24
OBJECT_WAS_PASSED = 52
OBJECT_RECEIVER = 56

# The size of an object that is not known.
UNKNOWN = 2**64 - 1

# Offsets within an entry.
NUMBER = 0
STATE = 8
DETAIL = 12
BEGAN = 16
ENDED = 24
FUNC = 32
ATTEMPT = 36
TASK_ID = 40

# States of an entry.
RUNNING = 1
COMPLETED = 2
FAILED = 3

PAGE_PATH = "/dev/null/roar/1/page"
SYNC_PATH = "/dev/null/roar/1/sync"
WORKS_PREFIX = "/dev/null/roar/1/works/"
STORE_PREFIX = "/dev/null/roar/1/store/"
