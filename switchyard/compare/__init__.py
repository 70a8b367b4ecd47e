"""What is computed from tables: pure functions, no process, no file, no framework.

Of one table: ``statistics`` turns numbers into numbers, ``rendering`` rows into lines of text;
rows are plain dicts with the columns of ``switchyard.tables.schema``.

Of two tables, as pandas frames: ``pairing`` says which row answers to which, ``verdicts`` what
became of each cell (``thresholds``, and ``timing`` with ``spread`` and ``intervals``), ``tallies``
counts, ``circumstances`` says what differs around them, and ``comparison`` holds it all together.
``saying`` puts a cell into words, ``sentences`` the whole; ``as_text`` with ``routes_as_text``,
``as_markdown``, ``as_json`` and ``as_junit`` are the reports.
"""
