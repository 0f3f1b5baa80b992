"""The port over SQL: programs that yield statements, and the statements of each family of databases."""
