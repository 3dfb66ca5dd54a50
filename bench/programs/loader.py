"""Reads small files as a DataLoader does: loader.py DIRECTORY.

Worker processes get shuffled lists of indices from queues, read and decode a file for each,
and send batches to the parent, which takes them in.
"""

import array
import multiprocessing
import os
import random
import sys

WORKERS = 2
BATCH = 64
IN_FLIGHT = 2 * WORKERS


def decoded(path):
    with open(path, "rb") as opened:
        sample = array.array("f", opened.read())
    mean = sum(sample) / len(sample)
    return array.array("f", [value - mean for value in sample])


def work(paths, indices, batches):
    for batch in iter(indices.get, None):
        batches.put([decoded(paths[index]) for index in batch])


def main(directory):
    paths = sorted(
        os.path.join(parent, name) for parent, _, names in os.walk(directory) for name in names)
    order = list(range(len(paths)))
    random.Random(0).shuffle(order)
    pending = [order[at:at + BATCH] for at in range(0, len(order), BATCH)]
    context = multiprocessing.get_context("fork")
    indices, batches = context.Queue(), context.Queue()
    workers = [
        context.Process(target=work, args=(paths, indices, batches)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for batch in pending[:IN_FLIGHT]:
        indices.put(batch)
    seen = 0
    for following in range(IN_FLIGHT, len(pending) + IN_FLIGHT):
        seen += len(batches.get()) if following - IN_FLIGHT < len(pending) else 0
        if following < len(pending):
            indices.put(pending[following])
    for _ in workers:
        indices.put(None)
    for worker in workers:
        worker.join()
    assert seen == len(paths), (seen, len(paths))


if __name__ == "__main__":
    main(sys.argv[1])
