-- The statements of the sqlite family: SQLite 3.38 or newer, for RETURNING, UPDATE ... FROM and ->>.
--
-- The table is called litestar_queue_task here; the family puts the configured name in its place. A batch travels as one
-- JSON parameter of arrays, which json_each unpacks in the order of sql/lists.py. Times are text of one width in UTC, so that text
-- order is time order. Every index but those of the ids and the keys is partial and small, and is found by the planner
-- only where a statement repeats its condition literally.

-- fragment: claimable
due_at <= :now
AND (expires_at IS NULL OR expires_at > :now)
AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))

-- A claim to run counts an attempt. A reservation counts none, and clears the reference of an earlier run.

-- fragment: take
state = :taken, attempt = attempt + :counted, fence = fence + 1, worker = :worker, heartbeat_at = :now,
stale_after = :stale_after, started_at = CASE WHEN :counted = 1 THEN :now ELSE started_at END,
execution_ref = CASE WHEN :counted = 1 THEN coalesce(:execution_ref, execution_ref) END /* slot: onupdate */

-- fragment: write
UPDATE litestar_queue_task SET /* slot: changes */ /* slot: onupdate */
FROM (SELECT /* slot: changed_fields */ FROM json_each(:batch)) AS c
WHERE litestar_queue_task.id = c.id
AND litestar_queue_task.fence = c.fence - 1

-- fragment: key_free
(c.active_key IS NULL OR NOT EXISTS (
    SELECT 1 FROM litestar_queue_task AS holder WHERE holder.active_key = c.active_key AND holder.id <> c.id
))

-- For how many seconds the owner of a task may be silent.

-- fragment: window
coalesce(CASE WHEN :own = 1 THEN litestar_queue_task.stale_after END, :allowed)

-- Times are compared as whole microseconds: SQLite's own arithmetic of times knows milliseconds.

-- fragment: silent
(litestar_queue_task.heartbeat_at IS NULL OR (
    (:longest IS NULL OR /* include: window */ < :longest)
    AND unixepoch(substr(litestar_queue_task.heartbeat_at, 1, 19)) * 1000000
    + CAST(substr(litestar_queue_task.heartbeat_at, 21, 6) AS INTEGER)
    + CAST(round(/* include: window */ * 1000000) AS INTEGER)
    < unixepoch(substr(:at, 1, 19)) * 1000000 + CAST(substr(:at, 21, 6) AS INTEGER)
))

-- The name of a table comes quoted, also inside a text. A column stands there with a dot before it, and behind `>` a table
-- whose foreign keys refer to this one, where the connection enforces them: SQLite deletes or refuses with them when a table
-- is dropped.

-- name: existing
SELECT name FROM sqlite_master
WHERE tbl_name IN (
    trim('litestar_queue_task', '"'), trim('litestar_queue_task_lock', '"'), trim('litestar_queue_task_record', '"')
)
UNION ALL
SELECT '.' || name FROM pragma_table_info(trim('litestar_queue_task', '"'))
UNION ALL
SELECT '>' || m.name FROM sqlite_master AS m JOIN pragma_foreign_key_list(m.name) AS f
WHERE m.type = 'table' AND lower(f."table") = lower(trim('litestar_queue_task', '"'))
AND (SELECT foreign_keys FROM pragma_foreign_keys) = 1

-- name: create_task_table
CREATE TABLE IF NOT EXISTS litestar_queue_task (
    /* slot: table */
)

-- name: create_key_index
CREATE UNIQUE INDEX IF NOT EXISTS litestar_queue_task_key ON litestar_queue_task (active_key)
WHERE active_key IS NOT NULL

-- name: create_ready_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_ready
ON litestar_queue_task (priority DESC, due_at, id, expires_at, execution_backend, state)
WHERE state = 'pending'

-- name: create_queue_ready_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_queue_ready
ON litestar_queue_task (queue, priority DESC, due_at, id, expires_at, execution_backend, state)
WHERE state = 'pending'

-- name: create_scheduled_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_scheduled ON litestar_queue_task (due_at, id)
WHERE state = 'scheduled'

-- name: create_queue_scheduled_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_queue_scheduled ON litestar_queue_task (queue, due_at, id, state)
WHERE state = 'scheduled'

-- Running tasks are few, and each of their heartbeats would write an index on it: this one serves the search for stale
-- ones by being short.

-- name: create_running_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_running ON litestar_queue_task (queue, state)
WHERE state = 'running'

-- name: create_overdue_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_overdue ON litestar_queue_task (expires_at, id)
WHERE expires_at IS NOT NULL AND state IN ('pending', 'scheduled')

-- name: create_finished_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_finished ON litestar_queue_task (finished_at, id)
WHERE finished_at IS NOT NULL

-- name: create_queue_finished_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_queue_finished ON litestar_queue_task (queue, state)
WHERE state IN ('completed', 'failed', 'cancelled', 'expired')

-- Dispatched tasks are few for the same reason: each has a run that is about to start.

-- name: create_dispatched_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_dispatched ON litestar_queue_task (queue, state)
WHERE state = 'dispatched'

-- name: create_lock_table
CREATE TABLE IF NOT EXISTS litestar_queue_task_lock (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    expires_at TEXT NOT NULL
)

-- name: create_record_table
CREATE TABLE IF NOT EXISTS litestar_queue_task_record (
    name TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    value TEXT NOT NULL
)

-- name: add_column
ALTER TABLE litestar_queue_task ADD COLUMN /* slot: column */

-- name: drop_column
ALTER TABLE litestar_queue_task DROP COLUMN /* slot: column_name */

-- The version of the schema is the record of that name; it never falls.

-- name: schema_version
SELECT value FROM litestar_queue_task_record WHERE name = 'schema'

-- name: record_version
INSERT INTO litestar_queue_task_record (name, version, value)
VALUES ('schema', 1, CAST(/* slot: version */ AS TEXT))
ON CONFLICT (name) DO UPDATE SET version = litestar_queue_task_record.version + 1, value = excluded.value
WHERE CAST(litestar_queue_task_record.value AS INTEGER) < /* slot: version */

-- SQLite changes no type and no check of a table: a new one takes its place, and gets its indexes.

-- name: rebuild_create
CREATE TABLE litestar_queue_task_new (
    /* slot: whole_table */
) /* slot: options */

-- name: rebuild_copy
INSERT INTO litestar_queue_task_new (/* slot: whole */) SELECT /* slot: whole */ FROM litestar_queue_task

-- name: rebuild_drop
DROP TABLE litestar_queue_task

-- name: rebuild_rename
ALTER TABLE litestar_queue_task_new RENAME TO litestar_queue_task

-- name: check_schema
SELECT /* slot: columns */, active_key FROM litestar_queue_task LIMIT 0

-- name: version
SELECT sqlite_version()

-- name: enqueue
INSERT INTO litestar_queue_task (/* slot: new_columns */, created_at)
SELECT /* slot: new_values */, :now FROM (SELECT /* slot: new_fields */ FROM json_each(:batch)) AS n
WHERE true
ON CONFLICT DO NOTHING

-- name: enqueued
SELECT /* slot: columns */ FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(:ids))
UNION ALL
SELECT /* slot: columns */ FROM litestar_queue_task WHERE active_key IN (SELECT value FROM json_each(:keys))

-- name: promote
UPDATE litestar_queue_task SET state = 'pending' /* slot: onupdate */
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'scheduled' AND due_at <= :now
    ORDER BY due_at, id LIMIT :limit
)

-- name: promote_queues
UPDATE litestar_queue_task SET state = 'pending' /* slot: onupdate */
WHERE rowid IN (
    SELECT t.rowid FROM json_each(:queues) AS q CROSS JOIN litestar_queue_task AS t
    WHERE t.rowid IN (
        SELECT s.rowid FROM litestar_queue_task AS s
        WHERE s.state = 'scheduled' AND s.queue = q.value AND s.due_at <= :now
        ORDER BY s.due_at, s.id LIMIT :limit
    )
    ORDER BY t.due_at, t.id LIMIT :limit
)

-- name: claim
UPDATE litestar_queue_task SET /* include: take */
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'pending' AND /* include: claimable */
    ORDER BY priority DESC, due_at, id LIMIT :limit
)
RETURNING /* slot: columns */

-- Each queue's first tasks through its own part of the index, then the first of those: another queue's backlog is never
-- looked at.

-- name: claim_queues
UPDATE litestar_queue_task SET /* include: take */
WHERE rowid IN (
    SELECT t.rowid FROM json_each(:queues) AS q CROSS JOIN litestar_queue_task AS t
    WHERE t.rowid IN (
        SELECT rowid FROM litestar_queue_task
        WHERE state = 'pending' AND queue = q.value AND /* include: claimable */
        ORDER BY priority DESC, due_at, id LIMIT :limit
    )
    ORDER BY t.priority DESC, t.due_at, t.id LIMIT :limit
)
RETURNING /* slot: columns */

-- name: claim_held
UPDATE litestar_queue_task SET /* include: take */
WHERE rowid IN (
    SELECT t.rowid FROM (SELECT /* slot: held_fields */ FROM json_each(:held)) AS h CROSS JOIN litestar_queue_task AS t
    WHERE t.id = h.id AND t.fence = h.fence
    AND (t.state IN ('pending', 'scheduled') OR (:dispatched = 1 AND t.state = 'dispatched'))
    AND /* include: claimable */
    AND (:queues IS NULL OR t.queue IN (SELECT value FROM json_each(:queues)))
    ORDER BY t.priority DESC, t.due_at, t.id LIMIT :limit
)
RETURNING /* slot: columns */

-- The plus keeps the planner, once it has statistics, from going through all tasks of a state and looking each up in the
-- batch.

-- name: touch_heartbeats
UPDATE litestar_queue_task
SET heartbeat_at = :now, progress = coalesce(h.progress, litestar_queue_task.progress),
stale_after = coalesce(h.stale_after, litestar_queue_task.stale_after) /* slot: onupdate */
FROM (SELECT /* slot: held_fields */ FROM json_each(:held)) AS h
WHERE litestar_queue_task.id = h.id AND litestar_queue_task.fence = h.fence
AND +state IN ('running', 'dispatched')
RETURNING id

-- name: commit
/* include: write */
RETURNING id

-- The same for a batch in which a task holds a key, or takes one. Looking for another holder costs a fifth more, which
-- the others, nearly all, are spared.

-- name: commit_keys
/* include: write */
AND /* include: key_free */
RETURNING id

-- The same for tasks that a recovery takes from their owners.

-- name: commit_stale
/* include: write */
AND /* include: key_free */ AND +litestar_queue_task.state = 'running' AND /* include: silent */
RETURNING id

-- name: delete
DELETE FROM litestar_queue_task
WHERE rowid IN (
    SELECT t.rowid FROM (SELECT /* slot: held_fields */ FROM json_each(:held)) AS h CROSS JOIN litestar_queue_task AS t
    WHERE t.id = h.id AND t.fence = h.fence
    AND t.state IN ('completed', 'failed', 'cancelled', 'expired')
)
RETURNING id

-- name: get
SELECT /* slot: columns */ FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(:ids))

-- name: find_stale
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state = 'running' AND /* include: silent */
ORDER BY heartbeat_at, id LIMIT :limit

-- name: find_dispatched
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state = 'dispatched'
AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))
AND (
    litestar_queue_task.heartbeat_at IS NULL OR litestar_queue_task.stale_after IS NULL
    OR unixepoch(substr(litestar_queue_task.heartbeat_at, 1, 19)) * 1000000
    + CAST(substr(litestar_queue_task.heartbeat_at, 21, 6) AS INTEGER)
    + CAST(round(litestar_queue_task.stale_after * 1000000) AS INTEGER)
    < unixepoch(substr(:at, 1, 19)) * 1000000 + CAST(substr(:at, 21, 6) AS INTEGER)
)
ORDER BY heartbeat_at, id LIMIT :limit

-- Dispatched tasks have an index of their own, so that the index of waiting tasks stays as older workers know it.

-- name: find_overdue
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state IN ('pending', 'scheduled') AND expires_at IS NOT NULL AND expires_at <= :at
UNION ALL
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state = 'dispatched' AND expires_at <= :at
ORDER BY expires_at, id LIMIT :limit

-- name: find_finished
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE finished_at IS NOT NULL AND finished_at >= :since AND finished_at < :before
ORDER BY finished_at, id LIMIT :limit

-- name: find_matching
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
AND (:names IS NULL OR name IN (SELECT value FROM json_each(:names)))
AND (:key IS NULL OR key = :key)
ORDER BY created_at DESC, id LIMIT :limit

-- name: count
SELECT queue, 'pending' AS state, count(*) AS tasks FROM litestar_queue_task
WHERE state = 'pending' AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues))) GROUP BY queue
UNION ALL
SELECT queue, 'scheduled', count(*) FROM litestar_queue_task
WHERE state = 'scheduled' AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues))) GROUP BY queue
UNION ALL
SELECT queue, 'dispatched', count(*) FROM litestar_queue_task
WHERE state = 'dispatched' AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues))) GROUP BY queue
UNION ALL
SELECT queue, 'running', count(*) FROM litestar_queue_task
WHERE state = 'running' AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues))) GROUP BY queue
UNION ALL
SELECT queue, state, count(*) FROM litestar_queue_task
WHERE state IN ('completed', 'failed', 'cancelled', 'expired')
AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
GROUP BY queue, state

-- The same for a table whose one index of states and queues has all tasks: a model's.

-- name: count_all
SELECT queue, state, count(*) AS tasks FROM litestar_queue_task
WHERE :queues IS NULL OR queue IN (SELECT value FROM json_each(:queues))
GROUP BY queue, state

-- name: next_due
SELECT min(due_at) FROM litestar_queue_task WHERE state = 'scheduled'

-- name: next_due_queues
SELECT min(first) FROM (
    SELECT (SELECT min(due_at) FROM litestar_queue_task WHERE state = 'scheduled' AND queue = q.value) AS first
    FROM json_each(:queues) AS q
)

-- name: lock
INSERT INTO litestar_queue_task_lock (name, owner, expires_at) VALUES (:name, :owner, :expires_at)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
WHERE litestar_queue_task_lock.owner = excluded.owner OR litestar_queue_task_lock.expires_at <= :now
RETURNING name

-- name: unlock
DELETE FROM litestar_queue_task_lock WHERE name = :name AND owner = :owner

-- name: read_named
SELECT name, version, value FROM litestar_queue_task_record
WHERE :prefix IS NULL OR substr(name, 1, length(:prefix)) = :prefix

-- name: insert_named
INSERT INTO litestar_queue_task_record (name, version, value) VALUES (:name, 1, :value)
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: update_named
UPDATE litestar_queue_task_record SET version = version + 1, value = :value WHERE name = :name AND version = :seen
RETURNING name
