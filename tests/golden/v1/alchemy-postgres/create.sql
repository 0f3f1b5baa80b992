CREATE TABLE litestar_queue_task (
    id UUID NOT NULL,
    task_id VARCHAR(36) COLLATE "C" NOT NULL,
    name VARCHAR(200) COLLATE "C" NOT NULL,
    queue VARCHAR(100) COLLATE "C" NOT NULL,
    state VARCHAR(9) COLLATE "C" NOT NULL,
    priority INTEGER NOT NULL,
    urgency BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    fence BIGINT NOT NULL,
    key VARCHAR(255) COLLATE "C",
    active_key VARCHAR(255) COLLATE "C",
    args TEXT NOT NULL,
    kwargs TEXT NOT NULL,
    metadata TEXT NOT NULL,
    description TEXT,
    timeout DOUBLE PRECISION,
    execution_backend VARCHAR(50) COLLATE "C" NOT NULL,
    execution_profile VARCHAR(100) COLLATE "C",
    execution_ref TEXT,
    worker TEXT,
    progress TEXT,
    result TEXT,
    error TEXT,
    enqueued_at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE,
    heartbeat_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    sa_orm_sentinel INTEGER,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_litestar_queue_task PRIMARY KEY (id),
    CONSTRAINT ck_litestar_queue_task_state CHECK (state IN ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled', 'expired'))
);

CREATE INDEX litestar_queue_task_queue_scheduled ON litestar_queue_task (queue, state, due_at, task_id) WHERE state = 'scheduled';

CREATE INDEX litestar_queue_task_ready ON litestar_queue_task (state, urgency, due_at, task_id) WHERE state = 'pending';

CREATE INDEX litestar_queue_task_overdue ON litestar_queue_task (state, expires_at, task_id) WHERE expires_at IS NOT NULL AND state IN ('pending', 'scheduled');

CREATE INDEX litestar_queue_task_scheduled ON litestar_queue_task (state, due_at, task_id) WHERE state = 'scheduled';

CREATE INDEX litestar_queue_task_state ON litestar_queue_task (state, queue);

CREATE UNIQUE INDEX litestar_queue_task_task ON litestar_queue_task (task_id);

CREATE INDEX litestar_queue_task_queue_ready ON litestar_queue_task (queue, state, urgency, due_at, task_id) WHERE state = 'pending';

CREATE INDEX litestar_queue_task_finished ON litestar_queue_task (finished_at, task_id) WHERE finished_at IS NOT NULL;

CREATE UNIQUE INDEX litestar_queue_task_key ON litestar_queue_task (active_key);

ALTER TABLE litestar_queue_task SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02
);

CREATE TABLE litestar_queue_task_lock (
    name VARCHAR(255) COLLATE "C" NOT NULL,
    owner TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_litestar_queue_task_lock PRIMARY KEY (name)
);

