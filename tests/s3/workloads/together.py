"""Tasks and actor calls that use S3 at the same time: `python together.py BUCKET DIRECTORY`.

They meet in DIRECTORY: each makes a file and waits for the other's, between its requests.
"""

import asyncio
import os
import subprocess
import sys
import time

import ray


def client():
    import boto3

    return boto3.client("s3")


def arrive(directory, name):
    open(os.path.join(directory, name), "w").close()


def others(directory, name, group):
    return [n for n in group if not os.path.exists(os.path.join(directory, n))]


def meet(directory, name, group):
    arrive(directory, name)
    end = time.monotonic() + 60
    while others(directory, name, group):
        assert time.monotonic() < end, "the others did not come"
        time.sleep(0.01)


def copies(s3, bucket, directory, name, group):
    """Both are there before, between and after the requests of each."""
    meet(directory, name + "-before", [n + "-before" for n in group])
    data = s3.get_object(Bucket=bucket, Key="in/" + name)["Body"].read()
    meet(directory, name + "-between", [n + "-between" for n in group])
    s3.put_object(Bucket=bucket, Key="out/" + name, Body=data + name.encode())
    meet(directory, name + "-after", [n + "-after" for n in group])


@ray.remote
def task(bucket, directory, name, group):
    copies(client(), bucket, directory, name, group)
    return os.getpid()


@ray.remote(max_concurrency=2)
class Threaded:
    def __init__(self):
        self.s3 = client()

    def copies(self, bucket, directory, name, group):
        copies(self.s3, bucket, directory, name, group)


@ray.remote
class Async:
    async def meet(self, directory, name, group):
        arrive(directory, name)
        while others(directory, name, group):
            await asyncio.sleep(0.01)

    async def copies(self, bucket, directory, name, group):
        from aiobotocore.session import get_session

        async with get_session().create_client("s3") as s3:
            await self.meet(directory, name + "-before", [n + "-before" for n in group])
            answer = await s3.get_object(Bucket=bucket, Key="in/" + name)
            async with answer["Body"] as body:
                data = await body.read()
            await self.meet(directory, name + "-between", [n + "-between" for n in group])
            await s3.put_object(Bucket=bucket, Key="out/" + name, Body=data + name.encode())
            await self.meet(directory, name + "-after", [n + "-after" for n in group])


@ray.remote
def shells_out(bucket, directory):
    def aws(source, target):
        subprocess.run(["aws", "s3", "cp", "--only-show-errors", source, target], check=True)

    path = os.path.join(directory, "taken")
    aws("s3://%s/in/shell" % bucket, path)
    aws(path, "s3://%s/out/shell" % bucket)


def main(bucket, directory):
    ray.init(log_to_driver=False)

    def pair(kind):
        names = [kind + "-a", kind + "-b"]
        return [(bucket, directory, name, names) for name in names]

    pids = ray.get([task.remote(*given) for given in pair("task")])
    print("workers:", len(set(pids)))
    for kind, actor in (("threaded", Threaded.remote()), ("async", Async.remote())):
        ray.get([actor.copies.remote(*given) for given in pair(kind)])
    ray.get(shells_out.remote(bucket, directory))
    print("done")
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
