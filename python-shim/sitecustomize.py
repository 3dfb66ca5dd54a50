"""Found by every Python below `roar run`, since its directory comes first on PYTHONPATH.

A Ray worker calls our setup hook, and that the user's. Where Ray is imported otherwise,
the driver's part is told. In all else the interpreter is left as it would have been: the
directory leaves `sys.path`, and the `sitecustomize` behind this one is imported.
"""

import os
import sys


def _install():
    here = os.path.dirname(__file__)
    script, options = sys.argv[0], sys.argv[1:]
    is_worker = os.path.basename(script) == "default_worker.py" and any(
        option.startswith("--node-ip-address=") for option in options
    )
    if is_worker and not any(
        option in ("--worker-type=SPILL_WORKER", "--worker-type=RESTORE_WORKER")
        for option in options
    ):
        try:
            # Now, while it can be found; Ray ends a worker whose hook cannot be imported.
            from roar_shim import worker

            worker.name_hook()
        except Exception:
            pass
    sys.path[:] = [entry for entry in sys.path if entry != here]
    sys.path_importer_cache.pop(here, None)
    if sys.version_info < (3, 8):
        return
    followed = {
        "botocore": ("stores", "follow_botocore"),
        "pyarrow._s3fs": ("stores", "follow_arrow"),
    }
    if not is_worker:
        followed["ray._private.worker"] = "driver", "follow"
        followed["ray._private.runtime_env.context"] = "driver", "follow_context"

    class Finder:
        """Finds modules as they would be found anyway, and is told when they are there: who
        asks where one is need not load it. It stays: an import of another thread, which walks
        over the list of finders, would miss one if it were taken away."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name not in followed:
                return None
            from importlib.machinery import PathFinder

            spec = PathFinder.find_spec(name, path, target)
            try:
                follow(spec.loader)
            except Exception:
                pass  # It is not there, or its loader is of a kind of its own.
            return spec

    def follow(loader):
        # That of an archive is the same for all that is in it.
        if "exec_module" in vars(loader):
            return
        execute = loader.exec_module

        def exec_module(module):
            execute(module)
            followed_by = followed.get(module.__name__)
            if followed_by is None:
                return
            try:
                from importlib import import_module

                sys.path.insert(0, here)
                try:
                    module_of_ours = import_module("roar_shim." + followed_by[0])
                finally:
                    sys.path.remove(here)
                getattr(module_of_ours, followed_by[1])(module)
            except Exception:
                pass

        loader.exec_module = exec_module

    sys.meta_path.insert(0, Finder)


try:
    _install()
except Exception:
    pass
del _install, os

# The one behind this one, where there is one.
_this = sys.modules.pop(__name__, None)
try:
    import sitecustomize  # noqa: F401
except ImportError as _error:
    if getattr(_error, "name", "sitecustomize") != "sitecustomize":
        raise
    sys.modules[__name__] = _this
