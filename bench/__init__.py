"""How fast the queue is beside the bare driver, and what a claim costs beside a backlog: tables, no tests."""
