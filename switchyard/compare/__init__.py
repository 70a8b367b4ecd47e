"""What is computed from tables: pure functions, no process, no file, no framework.

``statistics`` turns numbers into numbers, ``rendering`` turns rows into lines of text.
Rows are plain dicts with the columns of ``switchyard.tables.schema``.
"""
