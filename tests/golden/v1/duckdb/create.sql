CREATE TABLE IF NOT EXISTS "litestar_queue_task" (
    id VARCHAR NOT NULL PRIMARY KEY,
    name VARCHAR NOT NULL,
    queue VARCHAR NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled', 'expired')),
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    fence BIGINT NOT NULL,
    key VARCHAR,
    active_key VARCHAR,
    args JSON NOT NULL,
    kwargs JSON NOT NULL,
    metadata JSON NOT NULL,
    description VARCHAR,
    timeout DOUBLE,
    execution_backend VARCHAR NOT NULL,
    execution_profile VARCHAR,
    execution_ref VARCHAR,
    worker VARCHAR,
    progress JSON,
    result JSON,
    error JSON,
    created_at TIMESTAMP NOT NULL,
    due_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP,
    started_at TIMESTAMP,
    heartbeat_at TIMESTAMP,
    finished_at TIMESTAMP
);

CREATE UNIQUE INDEX IF NOT EXISTS "litestar_queue_task_key" ON "litestar_queue_task" (active_key);

CREATE TABLE IF NOT EXISTS "litestar_queue_task_lock" (
    name VARCHAR NOT NULL PRIMARY KEY,
    owner VARCHAR NOT NULL,
    expires_at TIMESTAMP NOT NULL
);

