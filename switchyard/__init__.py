"""Switchyard sends every model of a zoo down every route and records what arrived.

The words are in :mod:`switchyard.vocabulary`; each room says in its own docstring what
stands in it.
"""

__version__ = "0.1.0"
