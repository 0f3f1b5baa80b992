"""Names on pages that are not options, fields or classes of this project: where each can be found, or what it is."""

from __future__ import annotations

IMPORTED = {
    "AiosqliteConfig": "sqlspec.adapters.aiosqlite",
    "AsyncSession": "sqlalchemy.ext.asyncio",
    "AsyncpgConfig": "sqlspec.adapters.asyncpg",
    "BigIntAuditBase": "advanced_alchemy.base",
    "JsonB": "advanced_alchemy.types",
    "OracleSyncConfig": "sqlspec.adapters.oracledb",
    "PsqlpyConfig": "sqlspec.adapters.psqlpy",
    "PsycopgAsyncConfig": "sqlspec.adapters.psycopg",
    "PsycopgSyncConfig": "sqlspec.adapters.psycopg",
    "SQLAlchemyAsyncConfig": "advanced_alchemy.extensions.litestar",
    "SQLAlchemySyncConfig": "advanced_alchemy.extensions.litestar",
    "SqliteConfig": "sqlspec.adapters.sqlite",
    "UUIDAuditBase": "advanced_alchemy.base",
    "enable_tracing": "sqlspec.extensions.otel",
    "orm_registry": "advanced_alchemy.base",
}
"""Names of other packages, and the module that has each."""

METHODS = {
    "begin": "sqlspec.adapters.aiosqlite:AiosqliteDriver.begin",
    "metrics_snapshot": "sqlspec.observability:ObservabilityRuntime.metrics_snapshot",
    "provide_session": "sqlspec:SQLSpec.provide_session",
    "rollback": "sqlspec.adapters.aiosqlite:AiosqliteDriver.rollback",
    "transaction": "sqlspec.adapters.aiosqlite:AiosqliteDriver.transaction",
}
"""Methods of other packages, or parameters of a method."""

ATTRIBUTES = {
    "bind_key": "sqlspec.adapters.asyncpg:AsyncpgConfig",
    "connection_config": "sqlspec.adapters.asyncpg:AsyncpgConfig",
    "driver_features": "sqlspec.adapters.asyncpg:AsyncpgConfig",
    "extension_config": "sqlspec.adapters.asyncpg:AsyncpgConfig",
    "migration_config": "sqlspec.adapters.asyncpg:AsyncpgConfig",
    "engine_app_state_key": "advanced_alchemy.extensions.litestar:SQLAlchemyAsyncConfig",
    "engine_dependency_key": "advanced_alchemy.extensions.litestar:SQLAlchemyAsyncConfig",
    "before_send_handler": "advanced_alchemy.extensions.litestar:SQLAlchemyAsyncConfig",
}
"""Parameters of other packages' configurations."""

WORDS = {
    "of a sample": "confirm MadeUpConfig order db_session other_task sqlspec_config app",
    "of the shell and of installing": "jobs kill apt pip dist ensurepip externally-managed-environment python3-venv",
    "of the testing helpers": "perform",
    "of the conformance suite": "Reshapes reshape columns",
    "files": "made_up.py dev.py build/demo/summary.json env.py queue.db-shm queue.db-wal",
    "tables and indexes of the queue": "litestar_queue_task litestar_queue_task_lock app_queue_task_lock "
    "app_queue_task_ready ext_litestar_queues_0001 ext_litestar_queues_0002 ext_litestar_queues_0003 litestar_queue_task_record schema",
    "records of the queue": "maintenance maintenance.store",
    "values of options": "immediate litestar_queues",
    "transports of SQLSpec's events, and its settings of them": "aq txeventq notify notify_queue poll_queue listen_notify "
    "listen_notify_durable table_queue poll_interval retention_seconds direct_dsn version_table_name",
    "an attribute that only an object has, and a parameter of @task": "is_new backoff",
    "of Litestar": "on_startup --reload",
    "of Python": "DeprecationWarning ResourceWarning SystemExit KeyboardInterrupt GeneratorExit",
    "of asyncio": "add_done_callback",
    "of Kubernetes": "terminationGracePeriodSeconds",
    "of gcloud and Cloud Run": "--max-retries --task-timeout roles/run.developer projects/PROJECT/locations/REGION/jobs/JOB",
    "states of a task": "dispatched running",
    "a form of import paths": "package.module:function",
    "of SQLAlchemy, Alembic and its drivers": "oracledb_async compare_type target_metadata isolation_level",
    "of Oracle, its driver and its image": "call_timeout expire_time tcp_connect_timeout gvenzl/oracle-free",
    "settings and rights of Redis": "everysec noeviction min-replicas-to-write {orders} orders",
    "settings of servers": "max_allowed_packet proto-max-bulk-len",
    "of redis-py; tests/servers/test_redis_page.py holds them": "RedisCluster Sentinel decode_responses",
    "loggers": "opentelemetry",
    "of cron expressions": "mon feb fri#2",
    "reasons of skipped fires; tests/integration/test_schedules_page.py holds them": "missed merged",
    "metrics of SQLSpec": "sqlspec_driver_query_total sqlspec_driver_query_duration_seconds",
}
"""The rest, by what it belongs to."""

FOREIGN = {
    **IMPORTED,
    **METHODS,
    **ATTRIBUTES,
    **{word: whose for whose, words in WORDS.items() for word in words.split()},
    "+info +config|get": "rights of Redis",
    "kill %1": "of the shell",
}
