CREATE TABLE litestar_queue_task (
    id BINARY(16) NOT NULL,
    task_id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL,
    queue VARCHAR(100) NOT NULL,
    state VARCHAR(9) NOT NULL,
    priority INTEGER NOT NULL,
    urgency BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    fence BIGINT NOT NULL,
    "key" VARCHAR(255),
    active_key VARCHAR(255),
    args TEXT NOT NULL,
    kwargs TEXT NOT NULL,
    metadata TEXT NOT NULL,
    description TEXT,
    timeout DOUBLE,
    execution_backend VARCHAR(50) NOT NULL,
    execution_profile VARCHAR(100),
    execution_ref TEXT,
    worker TEXT,
    progress TEXT,
    result TEXT,
    error TEXT,
    enqueued_at DATETIME NOT NULL,
    due_at DATETIME NOT NULL,
    expires_at DATETIME,
    started_at DATETIME,
    heartbeat_at DATETIME,
    finished_at DATETIME,
    sa_orm_sentinel INTEGER,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL,
    CONSTRAINT pk_litestar_queue_task PRIMARY KEY (id),
    CONSTRAINT ck_litestar_queue_task_state CHECK (state IN ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled', 'expired'))
);

CREATE UNIQUE INDEX litestar_queue_task_task ON litestar_queue_task (task_id);

CREATE INDEX litestar_queue_task_finished ON litestar_queue_task (finished_at, task_id) WHERE finished_at IS NOT NULL;

CREATE INDEX litestar_queue_task_state ON litestar_queue_task (state, queue);

CREATE UNIQUE INDEX litestar_queue_task_key ON litestar_queue_task (active_key);

CREATE INDEX litestar_queue_task_overdue ON litestar_queue_task (state, expires_at, task_id) WHERE expires_at IS NOT NULL AND state IN ('pending', 'scheduled');

CREATE INDEX litestar_queue_task_scheduled ON litestar_queue_task (state, due_at, task_id) WHERE state = 'scheduled';

CREATE INDEX litestar_queue_task_queue_scheduled ON litestar_queue_task (queue, state, due_at, task_id) WHERE state = 'scheduled';

CREATE INDEX litestar_queue_task_queue_ready ON litestar_queue_task (queue, state, urgency, due_at, task_id) WHERE state = 'pending';

CREATE INDEX litestar_queue_task_ready ON litestar_queue_task (state, urgency, due_at, task_id) WHERE state = 'pending';

CREATE TABLE litestar_queue_task_lock (
    name VARCHAR(255) NOT NULL,
    owner TEXT NOT NULL,
    expires_at DATETIME NOT NULL,
    CONSTRAINT pk_litestar_queue_task_lock PRIMARY KEY (name)
);

