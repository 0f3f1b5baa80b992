-- What the next version could change on SQLite. For tests.

-- name: create_history_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_history ON litestar_queue_task (id) WHERE history IS NOT NULL

-- name: drop_overdue_index
DROP INDEX litestar_queue_task_overdue
