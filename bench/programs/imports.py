"""Imports what ordinary programs do."""

import argparse  # noqa: F401
import asyncio  # noqa: F401
import concurrent.futures  # noqa: F401
import csv  # noqa: F401
import email.message  # noqa: F401
import http.client  # noqa: F401
import json  # noqa: F401
import logging.config  # noqa: F401
import multiprocessing.pool  # noqa: F401
import sqlite3  # noqa: F401
import unittest.mock  # noqa: F401
import urllib.request  # noqa: F401
import xml.etree.ElementTree  # noqa: F401
