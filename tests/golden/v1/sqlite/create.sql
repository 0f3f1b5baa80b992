CREATE TABLE IF NOT EXISTS "litestar_queue_task" (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    queue TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled', 'expired')),
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    key TEXT,
    active_key TEXT,
    args TEXT NOT NULL,
    kwargs TEXT NOT NULL,
    metadata TEXT NOT NULL,
    description TEXT,
    timeout REAL,
    execution_backend TEXT NOT NULL,
    execution_profile TEXT,
    execution_ref TEXT,
    worker TEXT,
    progress TEXT,
    result TEXT,
    error TEXT,
    created_at TEXT NOT NULL,
    due_at TEXT NOT NULL,
    expires_at TEXT,
    started_at TEXT,
    heartbeat_at TEXT,
    finished_at TEXT
);

CREATE UNIQUE INDEX IF NOT EXISTS "litestar_queue_task_key" ON "litestar_queue_task" (active_key)
WHERE active_key IS NOT NULL;

CREATE INDEX IF NOT EXISTS "litestar_queue_task_ready"
ON "litestar_queue_task" (priority DESC, due_at, id, expires_at, execution_backend, state)
WHERE state = 'pending';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_queue_ready"
ON "litestar_queue_task" (queue, priority DESC, due_at, id, expires_at, execution_backend, state)
WHERE state = 'pending';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_scheduled" ON "litestar_queue_task" (due_at, id)
WHERE state = 'scheduled';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_queue_scheduled" ON "litestar_queue_task" (queue, due_at, id, state)
WHERE state = 'scheduled';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_running" ON "litestar_queue_task" (queue, state)
WHERE state = 'running';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_overdue" ON "litestar_queue_task" (expires_at, id)
WHERE expires_at IS NOT NULL AND state IN ('pending', 'scheduled');

CREATE INDEX IF NOT EXISTS "litestar_queue_task_finished" ON "litestar_queue_task" (finished_at, id)
WHERE finished_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS "litestar_queue_task_queue_finished" ON "litestar_queue_task" (queue, state)
WHERE state IN ('completed', 'failed', 'cancelled', 'expired');

CREATE TABLE IF NOT EXISTS "litestar_queue_task_lock" (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    expires_at TEXT NOT NULL
);

