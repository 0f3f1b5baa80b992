-- What a family offers besides that cannot look at the parts of several queues in one statement, on SQLite. For tests.

-- name: promote_queue
UPDATE litestar_queue_task SET state = 'pending'
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'scheduled' AND queue = :queue AND due_at <= :now
    ORDER BY due_at, id LIMIT :limit
)

-- name: claim_queue_lock
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state = 'pending' AND queue = :queue AND due_at <= :now AND (expires_at IS NULL OR expires_at > :now)
AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))
ORDER BY priority DESC, due_at, id LIMIT :limit
