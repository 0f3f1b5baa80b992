-- What a family without RETURNING offers in place of whole operations, on SQLite: its transactions exclude each other,
-- so that nothing has to be locked. For tests.

-- fragment: columns
id, name, queue, state, priority, attempt, max_attempts, fence, key, args, kwargs, metadata, description, timeout,
execution_backend, execution_profile, execution_ref, worker, progress, result, error,
created_at, due_at, expires_at, started_at, heartbeat_at, finished_at

-- fragment: claimable
due_at <= :now
AND (expires_at IS NULL OR expires_at > :now)
AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))

-- name: claim_lock
SELECT /* include: columns */ FROM litestar_queue_task
WHERE state = 'pending' AND /* include: claimable */
ORDER BY priority DESC, due_at, id LIMIT :limit

-- name: claim_queues_lock
SELECT /* include: columns */ FROM litestar_queue_task
WHERE state = 'pending' AND queue IN (SELECT value FROM json_each(:queues)) AND /* include: claimable */
ORDER BY priority DESC, due_at, id LIMIT :limit

-- name: claim_held_lock
SELECT /* include: columns */ FROM litestar_queue_task
WHERE (id, fence) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:held))
AND state IN ('pending', 'scheduled') AND /* include: claimable */
AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
ORDER BY priority DESC, due_at, id LIMIT :limit

-- name: lock_tasks
SELECT /* include: columns */ FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(:ids))

-- name: lock_keys
SELECT active_key, id FROM litestar_queue_task WHERE active_key IN (SELECT value FROM json_each(:keys))

-- name: write_tasks
UPDATE litestar_queue_task SET
    state = c.value ->> 2, active_key = c.value ->> 3, attempt = c.value ->> 4, fence = c.value ->> 1,
    due_at = c.value ->> 5, worker = c.value ->> 6, progress = c.value ->> 7, result = c.value ->> 8,
    error = c.value ->> 9, execution_ref = c.value ->> 10, execution_backend = c.value ->> 11,
    started_at = c.value ->> 12, heartbeat_at = c.value ->> 13, finished_at = c.value ->> 14
FROM json_each(:batch) AS c
WHERE litestar_queue_task.id = c.value ->> 0

-- name: delete_tasks
DELETE FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(:ids))

-- name: lock_read
SELECT owner, expires_at FROM litestar_queue_task_lock WHERE name = :name

-- name: lock_write
INSERT INTO litestar_queue_task_lock (name, owner, expires_at) VALUES (:name, :owner, :expires_at)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
