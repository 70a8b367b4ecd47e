"""The process that does the work, inside a version set's interpreter."""
