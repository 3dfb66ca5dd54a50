"""One use of S3 by a library of files or tables: `python files.py NAME BUCKET`."""

import asyncio
import os
import sys

from content import MIB, content

ENDPOINT = os.environ.get("ENDPOINT_IN_CODE")


async def by_aiobotocore(bucket):
    from aiobotocore.session import get_session

    async with get_session().create_client("s3", endpoint_url=ENDPOINT) as client:
        answer = await client.get_object(Bucket=bucket, Key="in/small")
        async with answer["Body"] as body:
            print(len(await body.read()))
        await asyncio.gather(*(
            client.put_object(Bucket=bucket, Key="out/async-%d" % n, Body=content(1000 * n, "a"))
            for n in range(1, 4)))


def aiobotocore(bucket):
    asyncio.run(by_aiobotocore(bucket))


def filesystem(**options):
    import s3fs

    return s3fs.S3FileSystem(skip_instance_cache=True, endpoint_url=ENDPOINT, **options)


def s3fs_cat(bucket):
    print(len(filesystem().cat(bucket + "/in/small")))


def s3fs_pipe(bucket):
    filesystem().pipe(bucket + "/out/piped", content(4000, "pipe"))


def s3fs_put(bucket):
    filesystem().put("given", bucket + "/out/put", max_concurrency=1)


def s3fs_get(bucket):
    filesystem().get(bucket + "/in/small", "taken")
    print(os.path.getsize("taken"))


def s3fs_blocks(bucket):
    with filesystem().open(bucket + "/in/large", "rb", block_size=MIB) as opened:
        opened.seek(7 * MIB)
        print(opened.read(100).hex())
    with filesystem().open(bucket + "/out/blocks", "wb", block_size=5 * MIB) as opened:
        for number in range(3):
            opened.write(content(4 * MIB, "block %d" % number))


def s3fs_look(bucket):
    fs = filesystem()
    print(fs.exists(bucket + "/in/small"), fs.info(bucket + "/in/small")["size"])
    print(sorted(fs.ls(bucket + "/in")))


def s3fs_rm(bucket):
    filesystem().rm(bucket + "/in/small")


def arrow():
    from pyarrow import fs

    if ENDPOINT:
        return fs.S3FileSystem(endpoint_override=ENDPOINT.split("//")[1], scheme="http")
    return fs.FileSystem.from_uri("s3://data")[0]


def arrow_streams(bucket):
    fs = arrow()
    with fs.open_input_stream(bucket + "/in/small") as opened:
        print(len(opened.read()))
    with fs.open_output_stream(bucket + "/out/stream") as opened:
        opened.write(content(3000, "stream"))


def arrow_large(bucket):
    with arrow().open_output_stream(bucket + "/out/large") as opened:
        for number in range(3):
            opened.write(content(5 * MIB, "large %d" % number))


def arrow_random(bucket):
    with arrow().open_input_file(bucket + "/in/large") as opened:
        opened.seek(3 * MIB)
        print(opened.read(64).hex())


def arrow_parquet(bucket):
    from pyarrow import parquet

    fs = arrow()
    table = parquet.read_table(bucket + "/in/table.parquet", filesystem=fs)
    print(table.num_rows)
    parquet.write_table(table.slice(0, 10), bucket + "/out/table.parquet", filesystem=fs)


def arrow_dataset(bucket):
    from pyarrow import dataset

    fs = arrow()
    found = dataset.dataset(bucket + "/in/dataset", filesystem=fs, format="parquet")
    print(found.count_rows(), sum(found.to_table()["n"].to_pylist()))


def arrow_files(bucket):
    from pyarrow import dataset

    paths = ["%s/in/dataset/%s.parquet" % (bucket, name) for name in "ab"]
    found = dataset.dataset(paths, filesystem=arrow(), format="parquet")
    print(sum(found.to_table()["n"].to_pylist()))


def arrow_copy(bucket):
    arrow().copy_file(bucket + "/in/small", bucket + "/out/copy")


def arrow_delete(bucket):
    arrow().delete_file(bucket + "/in/small")


def options():
    return {"endpoint_url": ENDPOINT} if ENDPOINT else {}


def pandas_s3fs(bucket):
    import pandas

    frame = pandas.read_csv("s3://%s/in/table.csv" % bucket, storage_options=options())
    print(int(frame["n"].sum()))
    frame.to_csv("s3://%s/out/table.csv" % bucket, index=False, storage_options=options())


def pandas_arrow(bucket):
    import pandas

    fs = arrow()
    frame = pandas.read_parquet(bucket + "/in/table.parquet", filesystem=fs)
    print(int(frame["n"].sum()))
    frame.to_parquet(bucket + "/out/table.parquet", filesystem=fs)


def polars(bucket):
    import polars as pl

    given = {"aws_endpoint_url": ENDPOINT} if ENDPOINT else {}
    frame = pl.read_parquet("s3://%s/in/table.parquet" % bucket, storage_options=given)
    print(frame["n"].sum())
    frame.write_parquet("s3://%s/out/table.parquet" % bucket, storage_options=given)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
