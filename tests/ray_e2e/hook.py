"""A user's own worker_process_setup_hook."""

import os


def setup():
    os.environ["TEST_HOOK"] = "hooked"
