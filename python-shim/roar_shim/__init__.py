"""Tells the supervisor which Ray task each thread of a worker works for.

Standard library only, and nothing heavy: this is imported in every Ray worker.
"""
