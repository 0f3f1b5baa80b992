CREATE TABLE `litestar_queue_task` (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(200) NOT NULL,
    queue VARCHAR(100) NOT NULL,
    state VARCHAR(9) NOT NULL CHECK (state IN ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled', 'expired')),
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    fence BIGINT NOT NULL,
    `key` VARCHAR(255),
    active_key VARCHAR(255),
    args LONGTEXT NOT NULL,
    kwargs LONGTEXT NOT NULL,
    metadata LONGTEXT NOT NULL,
    description TEXT,
    timeout DOUBLE,
    execution_backend VARCHAR(50) NOT NULL,
    execution_profile VARCHAR(100),
    execution_ref TEXT,
    worker TEXT,
    progress LONGTEXT,
    result LONGTEXT,
    error LONGTEXT,
    created_at DATETIME(6) NOT NULL,
    due_at DATETIME(6) NOT NULL,
    expires_at DATETIME(6),
    started_at DATETIME(6),
    heartbeat_at DATETIME(6),
    finished_at DATETIME(6),
    urgency BIGINT GENERATED ALWAYS AS (CASE state WHEN 'pending' THEN -priority ELSE 0 END) STORED,
    overdue_at DATETIME(6) GENERATED ALWAYS AS (CASE WHEN state IN ('pending', 'scheduled') THEN expires_at END) STORED,
    UNIQUE KEY `litestar_queue_task_key` (active_key),
    KEY `litestar_queue_task_ready` (state, urgency, due_at, id),
    KEY `litestar_queue_task_queue_ready` (queue, state, urgency, due_at, id),
    KEY `litestar_queue_task_overdue` (overdue_at, id),
    KEY `litestar_queue_task_finished` (finished_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */;

CREATE TABLE `litestar_queue_task_lock` (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    expires_at DATETIME(6) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */;

