CREATE TABLE "LITESTAR_QUEUE_TASK" (
    id VARCHAR2(37 CHAR) NOT NULL PRIMARY KEY,
    name VARCHAR2(201 CHAR) NOT NULL,
    queue VARCHAR2(101 CHAR) NOT NULL,
    state VARCHAR2(9 CHAR) NOT NULL CHECK (state IN ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled', 'expired')),
    priority NUMBER(10) NOT NULL,
    attempt NUMBER(10) NOT NULL,
    max_attempts NUMBER(10) NOT NULL,
    fence NUMBER(19) NOT NULL,
    key VARCHAR2(256 CHAR),
    active_key VARCHAR2(256 CHAR) UNIQUE,
    args CLOB NOT NULL,
    kwargs CLOB NOT NULL,
    metadata CLOB NOT NULL,
    description CLOB,
    timeout BINARY_DOUBLE,
    execution_backend VARCHAR2(51 CHAR) NOT NULL,
    execution_profile VARCHAR2(101 CHAR),
    execution_ref CLOB,
    worker CLOB,
    progress CLOB,
    result CLOB,
    error CLOB,
    created_at TIMESTAMP(6) NOT NULL,
    due_at TIMESTAMP(6) NOT NULL,
    expires_at TIMESTAMP(6),
    started_at TIMESTAMP(6),
    heartbeat_at TIMESTAMP(6),
    finished_at TIMESTAMP(6),
    urgency NUMBER(11) GENERATED ALWAYS AS (CASE state WHEN 'pending' THEN -priority ELSE 0 END) VIRTUAL,
    overdue_at TIMESTAMP(6) GENERATED ALWAYS AS (CASE WHEN state IN ('pending', 'scheduled') THEN expires_at END) VIRTUAL
);

CREATE INDEX "LITESTAR_QUEUE_TASK_READY" ON "LITESTAR_QUEUE_TASK" (state, urgency, due_at, id);

CREATE INDEX "LITESTAR_QUEUE_TASK_Q_READY" ON "LITESTAR_QUEUE_TASK" (queue, state, urgency, due_at, id);

CREATE INDEX "LITESTAR_QUEUE_TASK_OVERDUE" ON "LITESTAR_QUEUE_TASK" (overdue_at, id);

CREATE INDEX "LITESTAR_QUEUE_TASK_FINISHED" ON "LITESTAR_QUEUE_TASK" (finished_at, id);

CREATE TABLE "LITESTAR_QUEUE_TASK_LOCK" (
    name VARCHAR2(256 CHAR) NOT NULL PRIMARY KEY,
    owner VARCHAR2(1000 CHAR) NOT NULL,
    expires_at TIMESTAMP(6) NOT NULL
);

