-- What a family offers besides that reads candidates before it locks them, on SQLite, where nothing has to be locked. For
-- tests.

-- fragment: claimable
due_at <= :now
AND (expires_at IS NULL OR expires_at > :now)
AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))

-- fragment: behind
(:last_id IS NULL OR (-priority, due_at, id) > (:last_urgency, :last_due, :last_id))

-- fragment: first
ORDER BY priority DESC, due_at, id LIMIT :limit

-- name: promote_candidates
SELECT id FROM litestar_queue_task WHERE state = 'scheduled' AND due_at <= :now ORDER BY due_at, id LIMIT :limit

-- name: promote_queues_candidates
SELECT id FROM litestar_queue_task
WHERE state = 'scheduled' AND due_at <= :now AND queue IN (SELECT value FROM json_each(:queues))
ORDER BY due_at, id LIMIT :limit

-- name: lock_scheduled
SELECT id FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'scheduled'

-- name: write_promoted
UPDATE litestar_queue_task SET state = 'pending' WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'scheduled'

-- name: claim_candidates
SELECT id, -priority, due_at FROM litestar_queue_task
WHERE state = 'pending' AND /* include: claimable */ AND /* include: behind */
/* include: first */

-- name: claim_queues_candidates
SELECT id, -priority, due_at FROM litestar_queue_task
WHERE state = 'pending' AND queue IN (SELECT value FROM json_each(:queues))
AND /* include: claimable */ AND /* include: behind */
/* include: first */

-- name: claim_held_candidates
SELECT id, -priority, due_at FROM litestar_queue_task
WHERE (id, fence) IN (SELECT h.id, h.fence FROM (SELECT /* slot: held_fields */ FROM json_each(:held)) AS h)
AND (state IN ('pending', 'scheduled') OR (:dispatched = 1 AND state = 'dispatched'))
AND /* include: claimable */ AND /* include: behind */
AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
/* include: first */

-- name: lock_candidates
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE id IN (SELECT value FROM json_each(:ids))
AND (state IN ('pending', 'scheduled') OR (:dispatched = 1 AND state = 'dispatched')) AND /* include: claimable */

-- name: write_fenced
UPDATE litestar_queue_task SET /* slot: changes */
FROM (SELECT /* slot: changed_fields */ FROM json_each(:batch)) AS c
WHERE litestar_queue_task.id = c.id AND litestar_queue_task.fence = c.fence - 1

-- name: write_heartbeats
UPDATE litestar_queue_task SET heartbeat_at = c.heartbeat_at, progress = c.progress, stale_after = c.stale_after
FROM (SELECT /* slot: beat_fields */ FROM json_each(:batch)) AS c
WHERE litestar_queue_task.id = c.id AND litestar_queue_task.fence = c.fence AND state IN ('running', 'dispatched')
