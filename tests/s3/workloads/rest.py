"""The last two steps of the pipeline as tasks: `python rest.py BUCKET CLIENT`."""

import sys

import ray
from pipeline import report, train


def main(bucket, client):
    ray.init(log_to_driver=False)
    prefix = "s3://%s/%s" % (bucket, client)
    ray.get(report.remote(client, prefix, train.remote(client, prefix)))
    print("reported")
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
