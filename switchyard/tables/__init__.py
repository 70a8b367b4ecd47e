"""The tables of a run: what their columns mean, and how they are written and read.

``schema`` is the one list of columns, ``journal`` and ``writing`` are used by the runner
while it runs, ``reading`` by everything that looks at a table afterwards, ``provenance``
says where a table came from. pandas and pyarrow are imported inside functions only:
collection must stay instant.
"""
