"""The source document's claims, and what else is asked of one table: rows in, judgements or lines
of Markdown out. What compares two tables is beside this package, not in it."""
