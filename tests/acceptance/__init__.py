"""Real worker processes on a SQLite file, and what happens to them."""
