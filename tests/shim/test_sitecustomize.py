"""A Python below `roar run` is the Python that it would have been."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHIM = os.path.join(ROOT, "python-shim")


def python(code, path, *flags):
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], env=env, cwd="/", capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_path_is_the_one_without_it():
    plain = python("import sys; print(sys.path)", "/a:/b")
    assert python("import sys; print(sys.path)", SHIM + ":/a:/b") == plain


def test_the_users_own_is_imported(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.own = __file__\n")
    found = python(
        "import sys, sitecustomize; print(sys.own == sitecustomize.__file__)",
        "%s:%s" % (SHIM, tmp_path),
    )
    assert found == "True\n"


def test_an_import_error_of_the_users_own_is_theirs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import no_such_module\n")
    done = subprocess.run(
        [sys.executable, "-c", "print(1)"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": "%s:%s" % (SHIM, tmp_path)},
    )
    assert done.stdout == "1\n" and "no_such_module" in done.stderr


def test_isolated_pythons_do_not_see_it():
    for flags in (["-I"], ["-E"], ["-S"]):
        assert python("print(1)", SHIM, *flags) == "1\n"


def test_ray_is_followed():
    code = "import ray._private.worker as worker; print(worker.connect.__module__)"
    assert python(code, SHIM) == "roar_shim.driver\n"


def test_a_directory_that_is_gone_is_no_trouble(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = 'cd "$1" && rmdir "$1" && "$2" -c "print(1)"'
    done = subprocess.run(
        ["sh", "-c", command, "sh", str(gone), sys.executable], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": SHIM},
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


BOTOCORE = "all = []\nregister_initializer = all.append\n"


def test_a_module_that_is_looked_for_is_followed_when_it_is_loaded(tmp_path):
    (tmp_path / "botocore.py").write_text(BOTOCORE)
    code = (
        "import importlib.util as util\n"
        "util.find_spec('botocore'), util.find_spec('botocore')\n"
        "import botocore; print([f.__module__ for f in botocore.all])\n"
        "import importlib; importlib.reload(botocore); print(len(botocore.all))"
    )
    assert python(code, "%s:%s" % (SHIM, tmp_path)) == "['roar_shim.stores']\n1\n"


def test_what_is_in_an_archive_is_followed(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("botocore.py", BOTOCORE)
        archive.writestr("other.py", "register_initializer = print\n")
    code = (
        "import importlib.util as util\n"
        "util.find_spec('botocore')\n"
        "import other, botocore; print(len(botocore.all))"
    )
    assert python(code, "%s:%s" % (SHIM, tmp_path / "all.zip")) == "1\n"


ARROW = """
import abc, copy, pickle, sys
from pyarrow import fs

class Own(fs.S3FileSystem, abc.ABC):
    pass

def attempt(function, *args, **options):
    try:
        return function(*args, **options)
    except Exception as error:
        return repr(error)

kind = fs.S3FileSystem
one = kind(access_key="a", secret_key="b", endpoint_override="h:1", scheme="http", region="x")
other = fs.FileSystem.from_uri("s3://a:b@data/x?region=y&endpoint_override=h:2")[0]
own = Own(region="y", anonymous=True)
print([(type(it) is kind, isinstance(it, kind), it.region, hasattr(it, "__dict__")) for it in (one, other, own)])
print(type(kind), kind, kind.__qualname__, kind.__doc__, repr(one).split(" at ")[0])
print([type(pickle.loads(pickle.dumps(it))) is kind for it in (one, other, own)])
print([pickle.dumps(one, protocol) for protocol in range(6)], pickle.dumps(kind))
print(copy.copy(one) == one, type(copy.deepcopy(one)) is kind)
print(attempt(kind, 1), attempt(kind, no_such=1), attempt(kind, access_key="a"))
"""


def test_arrows_file_system_is_what_it_was():
    assert python(ARROW, SHIM) == python(ARROW, "")
    # It tells where the store is all the same.
    code = (
        "import sys; sys.path.append(%r)\n"
        "import roar_shim.stores as stores; stores.tell = print\n"
        "from pyarrow import fs\n"
        "fs.S3FileSystem(endpoint_override='h:1', scheme='http')\n"
        "fs.S3FileSystem(endpoint_override='h:1')\n"
    ) % SHIM
    told = "{'endpoint': 'http://h:1'}\n{'endpoint': 'https://h:1'}\n"
    assert python(code, SHIM) == told
