-- What a family offers besides that cannot look at the parts of several queues in one statement, on SQLite. For tests.

-- fragment: columns
id, name, queue, state, priority, attempt, max_attempts, fence, key, args, kwargs, metadata, description, timeout,
execution_backend, execution_profile, execution_ref, worker, progress, result, error,
created_at, due_at, expires_at, started_at, heartbeat_at, finished_at

-- name: promote_queue
UPDATE litestar_queue_task SET state = 'pending'
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'scheduled' AND queue = :queue AND due_at <= :now
    ORDER BY due_at, id LIMIT :limit
)

-- name: claim_queue_lock
SELECT /* include: columns */ FROM litestar_queue_task
WHERE state = 'pending' AND queue = :queue AND due_at <= :now AND (expires_at IS NULL OR expires_at > :now)
AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))
ORDER BY priority DESC, due_at, id LIMIT :limit
