"""Programs, and what each reads, writes and deletes."""

from dataclasses import dataclass

SMALL, LARGE = ("small",), ("large",)
TABLES = ("table.parquet", "table.csv", "dataset/a.parquet", "dataset/b.parquet")
STRANGE = "strange/sp ace/ü+%41&=;~/b"
GET, PUT, COPY, MULTIPART = "get", "put", "copy", "multipart"


@dataclass(frozen=True)
class Case:
    """Keys to how: of reads, `whole` names those of which all bytes must have passed."""

    name: str
    reads: tuple = ()
    writes: tuple = ()
    deletes: tuple = ()
    whole: tuple = ()
    seeds: tuple = SMALL
    moto: bool = False
    in_code: bool = False
    only_moto: bool = False

    @property
    def id(self):
        return self.name + ("-endpoint_in_code" if self.in_code else "")


def got(*names):
    return tuple(("in/" + name, GET) for name in names)


def made(name, how=PUT):
    return (("out/" + name, how),)


def whole(name, *names, **rest):
    """Gets of whole objects."""
    keys = tuple("in/" + key for key in (names or SMALL))
    return Case(name, reads=tuple((key, GET) for key in keys), whole=keys,
                seeds=names or SMALL, **rest)


BOTH = {"reads": got("small"), "whole": ("in/small",)}

CASES = [
    Case("boto.put", writes=made("put"), moto=True),
    Case("boto.put", writes=made("put"), in_code=True),
    Case("boto.put_stream", writes=made("stream")),
    Case("boto.put_empty", writes=made("_SUCCESS")),
    Case("boto.put_checked", writes=made("checked")),
    whole("boto.get", moto=True),
    whole("boto.get", in_code=True),
    whole("boto.get_empty", "empty"),
    whole("boto.get_twice"),
    Case("boto.get_ranges", reads=got("small"), moto=True),
    Case("boto.get_half", reads=got("large"), seeds=LARGE),
    Case("boto.get_missing", moto=True),
    Case("boto.strange_keys", reads=got(STRANGE), writes=made(STRANGE), whole=("in/" + STRANGE,),
         seeds=(STRANGE,)),
    Case("boto.copy", reads=(("in/small", COPY),), writes=made("copy", COPY), moto=True),
    Case("boto.upload_file", writes=made("uploaded", MULTIPART), moto=True),
    Case("boto.upload_file", writes=made("uploaded", MULTIPART), in_code=True),
    Case("boto.upload_small_file", writes=made("uploaded")),
    Case("boto.download_file", reads=got("large"), seeds=LARGE, moto=True),
    Case("boto.multipart", writes=made("parts", MULTIPART)),
    Case("boto.multipart_aborted"),
    Case("boto.copy_of_parts", reads=(("in/large", COPY),), writes=made("copied", MULTIPART),
         seeds=LARGE),
    Case("boto.delete", deletes=("in/small",), moto=True),
    Case("boto.delete_objects", deletes=("in/small", "in/empty"), seeds=("small", "empty"),
         moto=True),
    Case("boto.look", moto=True),
    Case("boto.read_own", writes=made("own")),
    Case("boto.ephemeral"),
    Case("boto.overwrite", reads=got("small"), writes=(("in/small", PUT),), whole=("in/small",)),
    Case("boto.versions", reads=got("small"), writes=(("in/small", PUT),), whole=("in/small",),
         only_moto=True),
    whole("boto.presigned_get", moto=True),
    Case("boto.presigned_put", writes=made("presigned")),
    Case("boto.presigned_curl", writes=made("presigned"), **BOTH),
    Case("boto.presigned_v4", writes=made("presigned"), **BOTH),
    Case("boto.threads", writes=tuple(("out/thread-%d" % n, PUT) for n in range(8)), **BOTH),
    Case("files.aiobotocore", writes=tuple(("out/async-%d" % n, PUT) for n in (1, 2, 3)), moto=True,
         **BOTH),
    Case("files.aiobotocore", writes=tuple(("out/async-%d" % n, PUT) for n in (1, 2, 3)),
         in_code=True, **BOTH),
    whole("files.s3fs_cat"),
    Case("files.s3fs_pipe", writes=made("piped"), moto=True),
    Case("files.s3fs_put", writes=made("put"), in_code=True),
    whole("files.s3fs_get"),
    Case("files.s3fs_blocks", reads=got("large"), writes=made("blocks", MULTIPART), seeds=LARGE),
    Case("files.s3fs_look"),
    Case("files.s3fs_rm", deletes=("in/small",)),
    Case("files.arrow_streams", writes=made("stream", MULTIPART), moto=True, **BOTH),
    Case("files.arrow_streams", writes=made("stream", MULTIPART), in_code=True, **BOTH),
    Case("files.arrow_large", writes=made("large", MULTIPART)),
    Case("files.arrow_random", reads=got("large"), seeds=LARGE),
    Case("files.arrow_parquet", reads=got("table.parquet"), writes=made("table.parquet", MULTIPART),
         seeds=TABLES),
    # s3s-fs fails when asked for the head of a directory.
    Case("files.arrow_dataset", reads=got("dataset/a.parquet", "dataset/b.parquet"), seeds=TABLES,
         only_moto=True),
    Case("files.arrow_files", reads=got("dataset/a.parquet", "dataset/b.parquet"), seeds=TABLES),
    Case("files.arrow_copy", reads=(("in/small", COPY),), writes=made("copy", COPY)),
    # pyarrow leaves a marker of the directory, which s3s-fs does not list.
    Case("files.arrow_delete", writes=(("in/", PUT),), deletes=("in/small",), only_moto=True),
    Case("files.pandas_s3fs", reads=got("table.csv"), writes=made("table.csv"), seeds=TABLES),
    Case("files.pandas_arrow", reads=got("table.parquet"), writes=made("table.parquet", MULTIPART),
         seeds=TABLES),
    Case("files.polars", reads=got("table.parquet"), writes=made("table.parquet"), seeds=TABLES,
         moto=True),
    Case("files.polars", reads=got("table.parquet"), writes=made("table.parquet"), seeds=TABLES,
         in_code=True),
    Case("programs.aws_up", writes=made("given", MULTIPART)),
    Case("programs.aws_down", reads=got("large"), seeds=LARGE),
    Case("programs.aws_between", reads=(("in/small", COPY),), writes=made("copy", COPY)),
    whole("programs.aws_pipe"),
    Case("programs.aws_get_object", reads=got("small")),
    Case("programs.aws_rm", deletes=("in/small",)),
    Case("programs.aws_ls"),
    Case("programs.rclone", writes=made("rclone"), **BOTH),
    Case("programs.rclone_large", writes=made("rclone", MULTIPART)),
    Case("programs.curl_sigv4", writes=made("curl"), **BOTH),
]
ON_SERVERS = [("s3s", case) for case in CASES if not case.only_moto] + [
    ("moto", case) for case in CASES if case.moto or case.only_moto
]


def url(key):
    return "s3://data/" + key


def expected(case):
    """Reads and writes (url to how), and deletes (urls)."""
    return (
        {url(key): how for key, how in case.reads},
        {url(key): how for key, how in case.writes},
        {url(key) for key in case.deletes},
    )
