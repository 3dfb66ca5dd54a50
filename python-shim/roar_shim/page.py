"""The attribution page, as its process writes it.

Every word that announces something is one aligned 64-bit store, made after what it
announces. Nothing that runs for every task takes a lock: a cancelled Ray task gets its KeyboardInterrupt
between any two instructions, and a lock that it left behind would stop the worker.
Where threads can race, the last store is followed by a look at whether it still holds.

What runs for every task runs with cold caches, where each name that is looked up costs
tens of nanoseconds: it is written to look up few.
"""

import itertools
import mmap
import os
import struct
import sys
import threading
from functools import partial
from time import CLOCK_BOOTTIME, clock_gettime_ns

from . import abi

# An entry from STATE on: see roar-tracee/src/abi.rs.
_pack_entry = struct.Struct("<IIQQII24s").pack_into
# A record of an object from OBJECT_NUMBER on.
_pack_object = struct.Struct("<QQ28sI24s").pack_into
_U32 = struct.Struct("<I")
_RUNNING = abi.RUNNING
# Words, counted from the page's beginning.
_ONLY_RUNNING, _ISSUED, _TAKEN = abi.ONLY_RUNNING >> 3, abi.ISSUED >> 3, abi.OBJECTS_TAKEN >> 3
_ENTRIES, _DIRTY = abi.ENTRIES >> 3, abi.DIRTY >> 3
_ENTRY_MASK, _ENTRY_WORDS = abi.ENTRY_COUNT - 1, abi.ENTRY_SIZE >> 3
_STATE, _ENDED = abi.STATE >> 3, abi.ENDED >> 3
_OBJECTS, _OBJECT_COUNT, _OBJECT_SIZE = abi.OBJECTS, abi.OBJECT_COUNT, abi.OBJECT_SIZE


def sync():
    """Lets the supervisor look at what ended tasks left. Always fails, by design."""
    try:
        os.close(os.open(abi.SYNC_PATH, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        pass


class Page:
    """One mapped page. Numbers of tasks are never reused; 0 means no task."""

    def __init__(self, fd):
        if sys.byteorder != "little":
            raise OSError("the page is little-endian")
        self.map = mmap.mmap(fd, abi.PAGE_SIZE)
        self.words = memoryview(self.map).cast("Q")
        if self.words[0] != abi.MAGIC or self.words[abi.VERSION_AT >> 3] != abi.VERSION:
            raise OSError("not a page of version %d" % abi.VERSION)
        self.pid = os.getpid()
        self.is_ours = True
        self._numbers = itertools.count(self.words[abi.ISSUED >> 3] + 1)
        self._object_indices = itertools.count(self.words[abi.OBJECTS_TAKEN >> 3])
        self._running = []
        self._free_slots = list(range(abi.SLOT_COUNT - 1, -1, -1))
        self._strings = {}
        self._next_string = 8
        self._string_lock = threading.Lock()
        self.local = _Local()

    # Context and strings

    def write_context(self, document):
        """Publishes the JSON that says which worker this is (bytes)."""
        if len(document) > abi.CONTEXT_MAX:
            return
        self.words[abi.CONTEXT_LEN >> 3] = 0
        self.map[abi.CONTEXT : abi.CONTEXT + len(document)] = document
        self.words[abi.CONTEXT_LEN >> 3] = len(document)

    def intern(self, text):
        """Reference to a string; 0 when there is no room for one more."""
        reference = self._strings.get(text)
        return self._add_string(text) if reference is None else reference

    def _add_string(self, text):
        data = text.encode("utf-8", "replace")
        # Rare, so here a lock is in order; one that a cancellation left behind is waited
        # for in vain once per new string.
        held = self._string_lock.acquire(timeout=0.5)
        try:
            reference = self._next_string
            end = (reference + 4 + len(data) + 7) & ~7
            if end > abi.STRINGS_SIZE:
                return 0
            at = abi.STRINGS + reference
            _U32.pack_into(self.map, at, len(data))
            self.map[at + 4 : at + 4 + len(data)] = data
            self._next_string = end
            self._strings[text] = reference
            return reference
        finally:
            if held:
                self._string_lock.release()

    def leave_when_forked(self, module):
        """A forked child, whose only thread is the one that forked, leaves the page, and
        `module._page`, to its parent. It runs no Python for that: in Python the handler of a
        signal could run, and what that raises in such a place is ignored."""
        for what in ((self, "is_ours", False), (self.local, "word", 0), (module, "_page", None)):
            os.register_at_fork(after_in_child=partial(setattr, *what))

    # Slots

    def take_slot(self):
        """Index of the word that holds this thread's task; 0 when all are taken."""
        try:
            slot = self._free_slots.pop()
        except IndexError:
            return 0
        word = (abi.SLOTS + slot * abi.SLOT_SIZE) >> 3
        self.words[word + 1] = 0
        self.words[word] = threading.get_native_id()
        return word + 1

    def own_word(self):
        """The same, as this thread has it from now on."""
        local = self.local
        if not local.word and self.is_ours:
            local.slot = slot = _Slot(self)
            local.word = slot.word
        return local.word

    def give_slot(self, word):
        """The thread that had this slot is gone."""
        if word and os.getpid() == self.pid:
            self.words[word] = 0
            self.words[word - 1] = 0
            self._free_slots.append((word * 8 - abi.SLOTS) // abi.SLOT_SIZE)

    def current(self):
        """The task that this thread works for."""
        word = self.local.word
        return self.words[word] if word else 0

    def at_work(self):
        """The task that this thread works for, or else the only one that runs; None when
        neither is known."""
        number = self.current() or self.words[abi.ONLY_RUNNING >> 3]
        return None if number in (0, abi.MANY) else number

    def work_for(self, number):
        """This thread works for that task from now on; returns the one before."""
        word = self.local.word or self.own_word()
        if not word:
            return 0
        before = self.words[word]
        self.words[word] = number
        return before

    def hand_over_thread(self, tid, number):
        """Another thread works for that task from now on."""
        words = self.words
        for word in range(abi.SLOTS >> 3, abi.ENTRIES >> 3, abi.SLOT_SIZE >> 3):
            if words[word] == tid:
                words[word + 1] = number
                return

    def hand_over(self, pid, number):
        """A process works for that task from now on; for MANY, nobody knows for which."""
        try:
            os.close(os.open("%s%d/%d" % (abi.WORKS_PREFIX, pid, number), os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            pass

    # Tasks

    def begin(self, task_id, attempt, func, detail=0):
        """Enters a task, and returns its number (0 when the table is full)."""
        number = next(self._numbers)
        words = self.words
        word = _ENTRIES + (number & _ENTRY_MASK) * _ENTRY_WORDS
        if words[word]:
            sync()
            if words[word]:
                self._count(0)
                return 0
        now = clock_gettime_ns(CLOCK_BOOTTIME)
        _pack_entry(self.map, (word << 3) + 8, _RUNNING, detail, now, 0, func, attempt, task_id)
        words[word] = number
        if words[_ISSUED] < number:
            words[_ISSUED] = number
        self._count(number)
        return number

    def end(self, number, state, detail=0):
        """Ends a task; the caller syncs if this returns true."""
        if not number:
            self._uncount(0)
            return False
        index = number & _ENTRY_MASK
        words = self.words
        word = _ENTRIES + index * _ENTRY_WORDS
        words[word + _ENDED] = clock_gettime_ns(CLOCK_BOOTTIME)
        dirty = words[_DIRTY + index]
        # The supervisor may free the entry, and the dirty word, as soon as this is stored.
        words[word + _STATE] = state | detail << 32
        self._uncount(number)
        return dirty or words[_DIRTY + index]

    def is_running(self, number):
        """Whether the task has not ended."""
        word = _ENTRIES + (number & _ENTRY_MASK) * _ENTRY_WORDS
        state = self.words[word + _STATE] & 0xFFFFFFFF
        return state == _RUNNING and self.words[word] == number

    # Objects

    def add_object(self, number, object_id, size=abi.UNKNOWN, receiver=None):
        """An object went into a task, or was passed to the one with the id `receiver`."""
        index = next(self._object_indices)
        words = self.words
        if index - words[_TAKEN] >= _OBJECT_COUNT:
            sync()
            if index - words[_TAKEN] >= _OBJECT_COUNT:
                # Nobody takes them any more. The ring ends here for good.
                words[abi.OBJECTS_LOST >> 3] += 1
                return
        at = _OBJECTS + index % _OBJECT_COUNT * _OBJECT_SIZE
        _pack_object(self.map, at + 8, number, size, object_id, receiver is not None, receiver or b"")
        words[at >> 3] = index + 1

    # Tasks that run. One that found no entry (0) counts too, so that nobody else is called
    # the only one. Appending and removing are atomic under the interpreter lock, and so is
    # a look at a list's length.

    def _count(self, number):
        running = self._running
        running.append(number)
        if len(running) == 1:
            self.words[_ONLY_RUNNING] = number
            if len(running) == 1:
                return
        self._publish()

    def _uncount(self, number):
        running = self._running
        try:
            running.remove(number)
        except ValueError:
            pass
        if not running:
            self.words[_ONLY_RUNNING] = 0
            if not running:
                return
        self._publish()

    def _publish(self):
        # A thread that was overtaken between its look and its store stores again.
        running, words = self._running, self.words
        while True:
            seen = running[:2]
            words[_ONLY_RUNNING] = abi.MANY if seen[1:] else seen[0] if seen else 0
            if running[:2] == seen:
                return


class _Slot:
    """A thread's slot; given back when the thread's locals die with it."""

    __slots__ = ("page", "word")

    def __init__(self, page):
        self.page = page
        self.word = page.take_slot()

    def __del__(self):
        self.page.give_slot(self.word)


class _Local(threading.local):
    """What is a thread's own: a slot once it works for somebody, the window around its task,
    and where a pool's thread has its calls from."""

    slot = None
    word = 0
    window = None
    calls = None
