CREATE TABLE IF NOT EXISTS "litestar_queue_task" (
    id varchar(36) COLLATE "C" NOT NULL PRIMARY KEY,
    name text NOT NULL,
    queue text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled', 'expired')),
    priority integer NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    fence bigint NOT NULL,
    key text,
    active_key text COLLATE "C",
    args JSON NOT NULL,
    kwargs JSON NOT NULL,
    metadata JSON NOT NULL,
    description text,
    timeout double precision,
    execution_backend text NOT NULL,
    execution_profile text,
    execution_ref text,
    worker text,
    progress JSON,
    result JSON,
    error JSON,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    expires_at timestamptz,
    started_at timestamptz,
    heartbeat_at timestamptz,
    finished_at timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

CREATE UNIQUE INDEX IF NOT EXISTS "litestar_queue_task_key" ON "litestar_queue_task" (active_key);

CREATE INDEX IF NOT EXISTS "litestar_queue_task_ready" ON "litestar_queue_task" (priority DESC, due_at, id)
WHERE state = 'pending';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_queue_ready" ON "litestar_queue_task" (queue, priority DESC, due_at, id)
WHERE state = 'pending';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_scheduled" ON "litestar_queue_task" (due_at, id)
WHERE state = 'scheduled';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_queue_scheduled" ON "litestar_queue_task" (queue, due_at, id)
WHERE state = 'scheduled';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_running" ON "litestar_queue_task" (queue)
WHERE state = 'running';

CREATE INDEX IF NOT EXISTS "litestar_queue_task_overdue" ON "litestar_queue_task" (expires_at, id)
WHERE expires_at IS NOT NULL AND state IN ('pending', 'scheduled');

CREATE INDEX IF NOT EXISTS "litestar_queue_task_finished" ON "litestar_queue_task" (finished_at, id)
WHERE finished_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS "litestar_queue_task_queue_finished" ON "litestar_queue_task" (queue, state)
WHERE state IN ('completed', 'failed', 'cancelled', 'expired');

CREATE TABLE IF NOT EXISTS "litestar_queue_task_lock" (
    name text NOT NULL PRIMARY KEY,
    owner text NOT NULL,
    expires_at timestamptz NOT NULL
);

