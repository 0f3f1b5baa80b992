-- What a family without RETURNING offers in place of whole operations, on SQLite: its transactions exclude each other,
-- so that nothing has to be locked. For tests.

-- fragment: claimable
due_at <= :now
AND (expires_at IS NULL OR expires_at > :now)
AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))

-- name: claim_lock
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state = 'pending' AND /* include: claimable */
ORDER BY priority DESC, due_at, id LIMIT :limit

-- name: promote_queue
UPDATE litestar_queue_task SET state = 'pending'
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'scheduled' AND queue = :queue AND due_at <= :now
    ORDER BY due_at, id LIMIT :limit
)

-- name: claim_queue_lock
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state = 'pending' AND queue = :queue AND /* include: claimable */
ORDER BY priority DESC, due_at, id LIMIT :limit

-- name: claim_held_lock
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE (id, fence) IN (SELECT h.id, h.fence FROM (SELECT /* slot: held_fields */ FROM json_each(:held)) AS h)
AND (state IN ('pending', 'scheduled') OR (:dispatched = 1 AND state = 'dispatched')) AND /* include: claimable */
AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
ORDER BY priority DESC, due_at, id LIMIT :limit

-- name: lock_tasks
SELECT /* slot: columns */ FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(:ids))

-- name: lock_free_tasks
SELECT /* slot: columns */ FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(:ids))

-- name: lock_keys
SELECT active_key, id FROM litestar_queue_task WHERE active_key IN (SELECT value FROM json_each(:keys))

-- name: write_tasks
UPDATE litestar_queue_task SET /* slot: changes */
FROM (SELECT /* slot: changed_fields */ FROM json_each(:batch)) AS c
WHERE litestar_queue_task.id = c.id

-- name: delete_tasks
DELETE FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(:ids))

-- name: lock_read
SELECT owner, expires_at FROM litestar_queue_task_lock WHERE name = :name

-- name: lock_write
INSERT INTO litestar_queue_task_lock (name, owner, expires_at) VALUES (:name, :owner, :expires_at)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
