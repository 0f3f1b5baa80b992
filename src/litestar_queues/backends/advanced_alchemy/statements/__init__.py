"""The engine's statements as SQLAlchemy Core expressions over a model's table, a module for each family of dialects."""
