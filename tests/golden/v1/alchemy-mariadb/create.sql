CREATE TABLE litestar_queue_task (
    id BINARY(16) NOT NULL,
    task_id VARCHAR(36) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */ NOT NULL,
    name VARCHAR(200) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */ NOT NULL,
    queue VARCHAR(100) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */ NOT NULL,
    state VARCHAR(9) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */ NOT NULL,
    priority INTEGER NOT NULL,
    urgency BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    fence BIGINT NOT NULL,
    `key` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */,
    active_key VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */,
    args LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
    kwargs LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
    metadata LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
    description TEXT CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */,
    timeout DOUBLE,
    execution_backend VARCHAR(50) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */ NOT NULL,
    execution_profile VARCHAR(100) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */,
    execution_ref TEXT CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */,
    worker TEXT CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */,
    progress LONGTEXT CHARACTER SET utf8mb4,
    result LONGTEXT CHARACTER SET utf8mb4,
    error LONGTEXT CHARACTER SET utf8mb4,
    enqueued_at DATETIME(6) NOT NULL,
    due_at DATETIME(6) NOT NULL,
    expires_at DATETIME(6),
    started_at DATETIME(6),
    heartbeat_at DATETIME(6),
    finished_at DATETIME(6),
    sa_orm_sentinel INTEGER,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL,
    CONSTRAINT pk_litestar_queue_task PRIMARY KEY (id),
    CONSTRAINT ck_litestar_queue_task_state CHECK (state IN ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled', 'expired'))
);

CREATE INDEX litestar_queue_task_scheduled ON litestar_queue_task (state, due_at, task_id);

CREATE UNIQUE INDEX litestar_queue_task_task ON litestar_queue_task (task_id);

CREATE UNIQUE INDEX litestar_queue_task_key ON litestar_queue_task (active_key);

CREATE INDEX litestar_queue_task_queue_ready ON litestar_queue_task (queue, state, urgency, due_at, task_id);

CREATE INDEX litestar_queue_task_overdue ON litestar_queue_task (state, expires_at, task_id);

CREATE INDEX litestar_queue_task_queue_scheduled ON litestar_queue_task (queue, state, due_at, task_id);

CREATE INDEX litestar_queue_task_finished ON litestar_queue_task (finished_at, task_id);

CREATE INDEX litestar_queue_task_state ON litestar_queue_task (state, queue);

CREATE INDEX litestar_queue_task_ready ON litestar_queue_task (state, urgency, due_at, task_id);

CREATE TABLE litestar_queue_task_lock (
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */ NOT NULL,
    owner TEXT CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */ NOT NULL,
    expires_at DATETIME(6) NOT NULL,
    CONSTRAINT pk_litestar_queue_task_lock PRIMARY KEY (name)
);

