"""The schema as migrations of SQLSpec's: `config.add_extension_migrations("litestar_queues", "<this package>")`."""
