"""A script's own runtime environment and the launcher's, as Ray merges them."""

import os
import sys

from ray.runtime_env import RuntimeEnv
from ray.runtime_env.runtime_env import _merge_runtime_env

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "python-shim"))

from roar_shim.driver import reconcile  # noqa: E402

OURS = {"py_executable": "/x/roar-worker --job=j --", "env_vars": {"A": "1"}}


def merged(child, parent=OURS):
    return _merge_runtime_env(*reconcile(parent, child), override=True)


def test_without_an_own_one_nothing_changes():
    assert reconcile(OURS, None) == (OURS, None)
    assert reconcile(None, {"pip": ["x"]}) == (None, {"pip": ["x"]})
    foreign = {"py_executable": "python3.11"}
    assert reconcile(foreign, {"py_executable": "x"}) == (foreign, {"py_executable": "x"})


def test_an_own_executable_is_started_by_the_launcher():
    env = merged(RuntimeEnv(py_executable="python -X dev", env_vars={"B": "2"}))
    assert env["py_executable"] == "/x/roar-worker --job=j -- python -X dev"
    assert env["env_vars"] == {"A": "1", "B": "2"}


def test_beside_an_image_there_is_no_launcher():
    env = merged({"image_uri": "i"})
    assert env["image_uri"] == "i" and "py_executable" not in env
    RuntimeEnv(**env)  # which Ray refuses with an executable


def test_own_modules_join_the_jobs():
    parent = {**OURS, "py_modules": ["gcs://launcher.zip"]}
    env = merged({"py_modules": ["/own"]}, parent)
    assert env["py_modules"] == ["/own", "gcs://launcher.zip"]
    assert parent["py_modules"] == ["gcs://launcher.zip"]
