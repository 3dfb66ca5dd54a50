"""Found by every Python below `roar run`, since its directory comes first on PYTHONPATH.

Where Ray is imported, the driver's part is told; a Ray worker's own hook finds its part.
Otherwise the interpreter is left as it would have been: the directory leaves `sys.path`,
and the `sitecustomize` behind this one is imported.
"""

import os
import sys


def _install():
    here = os.path.dirname(__file__)
    hook = os.environ.get("__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR", "")
    if hook.startswith("roar_shim."):
        import roar_shim  # noqa: F401
    sys.path[:] = [entry for entry in sys.path if entry != here]
    sys.path_importer_cache.pop(here, None)
    if "roar_shim" in sys.modules or sys.version_info < (3, 8):
        return

    class Finder:
        """Finds one module as it would be found anyway, and is told when it is there. It
        stays: an import of another thread, which walks over the list of finders, would miss
        one if it were taken away."""

        found = False

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "ray._private.worker" or Finder.found:
                return None
            Finder.found = True
            from importlib.machinery import PathFinder

            spec = PathFinder.find_spec(name, path, target)
            if spec is None or spec.loader is None:
                return spec
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                try:
                    sys.path.insert(0, here)
                    try:
                        from roar_shim import driver
                    finally:
                        sys.path.remove(here)
                    driver.follow(module)
                except Exception:
                    pass

            spec.loader.exec_module = exec_module
            return spec

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
