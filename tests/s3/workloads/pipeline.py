"""The steps as tasks of Ray's, by every client at once: `python pipeline.py BUCKET CLIENT…`."""

import os
import sys
from urllib.parse import urlsplit

import ray
import steps


@ray.remote(num_cpus=0.5)
def process(client, prefix, number):
    steps.process(client, prefix, number)


@ray.remote(num_cpus=0.5)
def train(client, prefix, *_):
    steps.train(client, prefix)


@ray.remote(num_cpus=0.5)
def report(client, prefix, _):
    steps.report(client, prefix)


def by_tasks(client, prefix):
    processed = [process.remote(client, prefix, number) for number in range(steps.SHARDS)]
    return report.remote(client, prefix, train.remote(client, prefix, *processed))


def of_ray_data(prefix):
    """Reads and writes by Ray Data; model and report as of the others."""
    from pyarrow import fs
    from ray.data.datasource import FilenameProvider

    class Numbered(FilenameProvider):
        def get_filename_for_block(self, block, _uuid, task_index, block_index):
            return "%d.csv" % task_index

    filesystem = fs.S3FileSystem(
        endpoint_override=urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc, scheme="http")
    path = prefix[len("s3://"):]
    raw = ["%s/raw/%d.csv" % (path, number) for number in range(steps.SHARDS)]
    lines = ray.data.read_text(raw, filesystem=filesystem, override_num_blocks=steps.SHARDS)
    tripled = lines.map_batches(lambda batch: {"n": batch["text"].astype(int) * 3})
    tripled.write_csv(
        path + "/processed", filesystem=filesystem, filename_provider=Numbered(),
        try_create_dir=False)
    return report.remote("pyarrow", prefix, train.remote("pyarrow", prefix))


def main(bucket, *clients):
    ray.init(log_to_driver=False)
    ends = [by_tasks(client, "s3://%s/%s" % (bucket, client))
            for client in clients if client != "raydata"]
    ray.get(ends)
    if "raydata" in clients:
        ray.get(of_ray_data("s3://%s/raydata" % bucket))
    print("reports:", len(clients))
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
