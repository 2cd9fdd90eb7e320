"""How a job starts, ends and is one of many."""
