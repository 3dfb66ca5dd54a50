"""Steps of a pipeline whose data is in S3: `python steps.py STEP CLIENT PREFIX [NUMBER]`.

Three raw shards become processed ones, these a model, and that a report.
"""

import sys

from clients import get, put

SHARDS = 3


def process(client, prefix, number):
    lines = get(client, "%s/raw/%s.csv" % (prefix, number)).decode().split()
    text = "".join("%d\n" % (int(line) * 3) for line in lines)
    put(client, "%s/processed/%s.csv" % (prefix, number), text.encode())


def train(client, prefix):
    parts = (get(client, "%s/processed/%d.csv" % (prefix, n)) for n in range(SHARDS))
    lines = (line for part in parts for line in part.decode().split())
    total = sum(int(line) for line in lines if line.isdigit())  # Ray Data writes a header
    put(client, prefix + "/model.json", b'{"total": %d}' % total)


def report(client, prefix):
    model = get(client, prefix + "/model.json").decode()
    put(client, prefix + "/report.txt", ("the model is %s\n" % model).encode())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
