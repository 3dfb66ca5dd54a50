"""What clients of object stores do, told as it happens.

botocore (boto3, aiobotocore, s3fs, the AWS CLI) emits events: before a request is sent, and
when its operation is over. Both are told on the thread, and in the context, of the task that
asks; the id by which the supervisor knows the request again is the client's own
(``amz-sdk-invocation-id``).

pyarrow's client is compiled and emits nothing. Its requests are seen on their way to the
store, once it is known where that is: a class in the place of ``S3FileSystem`` tells.
"""

import functools
import json
import os

from . import abi

_KEY = "roar"
_MOST = 3000  # bytes; a path may have 4095
_told = set()  # of endpoints


def tell(note):
    """Tells the supervisor. Without one this fails as it does with one, and costs a call."""
    try:
        os.close(os.open(abi.STORE_PREFIX + json.dumps(note), os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        pass


def follow_botocore(botocore):
    """Called with the module ``botocore``."""
    botocore.register_initializer(_begin)


def _begin(session):
    try:
        session.register("before-parameter-build.s3", _asks)
        session.get_component("event_emitter").register_last("before-sign.s3", _signs)
        session.register("before-send.s3", _sends)
        session.register("after-call.s3", _succeeded)
        session.register("after-call-error.s3", _failed)
    except Exception:
        pass


def _asks(params=None, context=None, **_):
    try:
        source = params.get("CopySource")
        if isinstance(source, str):
            source = _source(source)
        context[_KEY] = {
            "bucket": params.get("Bucket", ""),
            "keys": [params["Key"]] if "Key" in params else [],
            "asked": _objects(params.get("Delete", {}).get("Objects", ())),
            "source": source or {},
            "source_range": params.get("CopySourceRange"),
            "version": params.get("VersionId"),
        }
    except Exception:
        pass


def _objects(entries):
    """The keys that are meant themselves, and no single version of them."""
    return [entry.get("Key") for entry in entries if entry.get("VersionId") in (None, "", "null")]


def _source(text):
    from urllib.parse import unquote

    path, _, version = text.partition("?versionId=")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    return {"Bucket": bucket, "Key": key, "VersionId": version or None}


def _signs(request=None, **_):
    """Tells where the store is, also that of a URL which is signed for somebody else."""
    try:
        scheme, _, rest = request.url.partition("://")
        host, _, path = rest.partition("/")
        asked = request.context[_KEY]
        bucket = asked["bucket"]
        if ":" in bucket:
            return  # An access point (by its ARN), where there are no buckets.
        is_before_host = host.startswith(bucket + ".") and not _has_bucket(path, asked)
        endpoint = (scheme + "://" + host, bucket if is_before_host else "")
        if endpoint not in _told:
            tell({"endpoint": endpoint[0], "bucket": endpoint[1]})
            _told.add(endpoint)
    except Exception:
        pass


def _has_bucket(path, asked):
    """Whether a path begins with the bucket, and not with a key that is called like it."""
    from urllib.parse import unquote

    path = unquote(path.partition("?")[0])
    return path != "".join(asked["keys"]) and (path + "/").startswith(asked["bucket"] + "/")


def _sends(request=None, **_):
    try:
        invocation = request.headers.get("amz-sdk-invocation-id") or ""
        if isinstance(invocation, bytes):
            invocation = invocation.decode()
        tell({"id": invocation})
    except Exception:
        pass


def _succeeded(http_response=None, parsed=None, model=None, context=None, **_):
    try:
        asked = context.pop(_KEY, None)
        if asked is None:
            return
        if http_response.status_code >= 300:
            _failed(context)
            return
        note = {
            "id": context["retries"]["invocation-id"],
            "operation": model.name,
            "bucket": asked["bucket"],
            "source_bucket": asked["source"].get("Bucket", ""),
            "source_key": asked["source"].get("Key", ""),
            "source_version": parsed.get("CopySourceVersionId") or asked["source"].get("VersionId"),
            "source_range": asked["source_range"],
            "version_id": parsed.get("VersionId") or asked["version"],
        }
        if model.name == "DeleteObject":
            note["version_id"] = asked["version"]  # Not that of the marker which is there now.
        found = parsed.get("CopyObjectResult") or parsed
        note["etag"] = found.get("ETag")
        note["checksums"] = {
            name[len("Checksum") :].lower(): value
            for name, value in found.items()
            if name.startswith("Checksum") and name != "ChecksumType"
        }
        if model.name == "GetObject":
            note.update(_range(parsed))
        keys = asked["keys"]
        if model.name == "DeleteObjects":
            failed = _objects(parsed.get("Errors", ()))
            keys = [key for key in asked["asked"] if key not in failed]
        for part in _parts(keys):
            tell(dict(note, keys=part))
    except Exception:
        pass


def _failed(context=None, **_):
    """What the thread does from here on is not for this operation."""
    try:
        tell({"id": context["retries"]["invocation-id"], "over": True})
    except Exception:
        pass


def _range(parsed):
    """The size of the whole object, and which part of it was read."""
    text = parsed.get("ContentRange")
    if not text:
        return {"size": parsed.get("ContentLength")}
    bounds, _, size = text[len("bytes ") :].partition("/")
    return {
        "range": [int(bound) for bound in bounds.split("-")],
        "size": int(size) if size.isdigit() else None,
    }


def _parts(keys):
    """Keys in as many lists as it takes notes to tell them."""
    part, length = [], 0
    for key in keys:
        length += len(json.dumps(key)) + 2
        if part and length > _MOST:
            yield part
            part, length = [], len(json.dumps(key)) + 2
        part.append(key)
    if part or not keys:
        yield part


def follow_arrow(s3fs):
    """Called with the module ``pyarrow._s3fs``. pyarrow makes all instances by the name in it,
    also where it unpickles one or has a URL: none is of the class that was there."""
    real = s3fs.S3FileSystem

    def __init__(self, *args, **options):
        try:
            endpoint = options.get("endpoint_override")
            if endpoint:
                scheme = options.get("scheme") or "https"
                tell({"endpoint": endpoint if "://" in endpoint else scheme + "://" + endpoint})
        except Exception:
            pass
        real.__init__(self, *args, **options)

    def _reconstruct(options):
        return stand_in(**options)

    def __reduce__(self):
        return (stand_in._reconstruct, *real.__reduce__(self)[1:])

    names = {name: getattr(real, name) for name in ("__module__", "__qualname__", "__doc__")}
    for function in (__init__, _reconstruct, __reduce__):
        names[function.__name__] = functools.update_wrapper(function, getattr(real, function.__name__))
    names["_reconstruct"] = staticmethod(_reconstruct)
    # Without slots its instances have no more attributes than those of the other.
    stand_in = type(real)(real.__name__, (real,), {"__slots__": (), **names})
    s3fs.S3FileSystem = stand_in
