"""How a job starts, ends and becomes one job of a sweep."""
