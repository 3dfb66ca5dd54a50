"""A short step of a pipeline: step.py INPUT OUTPUT. Counts words."""

import collections
import json
import sys


def main(source, target):
    with open(source) as opened:
        counts = collections.Counter(opened.read().split())
    with open(target, "w") as opened:
        json.dump(counts.most_common(100), opened)


if __name__ == "__main__":
    main(*sys.argv[1:])
