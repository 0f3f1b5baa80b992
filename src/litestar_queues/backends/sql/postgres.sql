-- The statements of the postgres family: PostgreSQL 12 or newer.
--
-- The table is called litestar_queue_task here; the family puts the configured name in its place. A batch travels as one
-- JSON parameter, which json_to_recordset unpacks by the names of the fields. Users' values are JSON columns, not JSONB:
-- they have to come back as they were, and JSONB rewrites numbers and refuses \u0000. Times are the server's: a :now of
-- NULL means statement_timestamp(), which is one value in a whole statement, and may be compared with an index.
--
-- A batch is estimated at 100 rows, however large it is; conditions on it that always hold (h.fence >= 0) bring the
-- estimate to a dozen, so that its rows are looked up by id, and no table of a few thousand rows is read as a whole.
--
-- What makes a pending task claimable is true of nearly all of them, and the planner takes each condition for a rare one.
-- It then expects a row or two, and rather sorts all pending tasks than follow the index in its order: 2.0 ms for 10 of
-- 5,000, and 0.2 in order. As a CASE that IS NOT NULL, it is expected of 99.5 % of them.

-- fragment: now
coalesce(CAST(:now AS timestamptz), statement_timestamp())

-- fragment: claimable
CASE WHEN due_at <= /* include: now */
    AND (expires_at IS NULL OR expires_at > /* include: now */)
    AND (
        CAST(:execution_backends AS text) IS NULL
        OR execution_backend IN (SELECT json_array_elements_text(CAST(CAST(:execution_backends AS text) AS json)))
    )
THEN 1 END IS NOT NULL

-- A claim to run counts an attempt. A reservation counts none, and clears the reference of an earlier run.

-- fragment: take
state = CAST(:taken AS text), attempt = attempt + CAST(:counted AS integer), fence = fence + 1,
worker = CAST(:worker AS text), heartbeat_at = /* include: now */,
stale_after = CAST(:stale_after AS double precision),
started_at = CASE WHEN CAST(:counted AS integer) = 1 THEN /* include: now */ ELSE started_at END,
execution_ref = CASE
    WHEN CAST(:counted AS integer) = 1 THEN coalesce(CAST(:execution_ref AS text), execution_ref)
END /* slot: onupdate */

-- fragment: held
json_to_recordset(CAST(CAST(:held AS text) AS json)) AS h (/* slot: held_fields */)

-- fragment: write
UPDATE litestar_queue_task AS t SET /* slot: changes */ /* slot: onupdate */
FROM json_to_recordset(CAST(CAST(:batch AS text) AS json)) AS c (/* slot: changed_fields */)
WHERE t.id = c.id AND t.fence = c.fence - 1 AND c.fence > 0 AND c.attempt >= 0

-- fragment: key_free
(c.active_key IS NULL OR NOT EXISTS (
    SELECT 1 FROM litestar_queue_task AS holder WHERE holder.active_key = c.active_key AND holder.id <> c.id
))

-- For how many seconds the owner of a task may be silent.

-- fragment: window
coalesce(CASE WHEN CAST(:own AS integer) = 1 THEN t.stale_after END, CAST(:allowed AS double precision))

-- fragment: silent
(t.heartbeat_at IS NULL OR (
    (CAST(:longest AS double precision) IS NULL OR /* include: window */ < CAST(:longest AS double precision))
    AND t.heartbeat_at + /* include: window */ * interval '1 second' < CAST(:at AS timestamptz)
))

-- name: existing
SELECT c.relname FROM pg_catalog.pg_class AS c
WHERE c.oid IN (
    to_regclass('litestar_queue_task'), to_regclass('litestar_queue_task_lock'), to_regclass('litestar_queue_task_record')
)
OR c.oid IN (SELECT i.indexrelid FROM pg_catalog.pg_index AS i WHERE i.indrelid = to_regclass('litestar_queue_task'))
UNION ALL
SELECT '.' || a.attname FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = to_regclass('litestar_queue_task') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT '#' || k.conname FROM pg_catalog.pg_constraint AS k
WHERE k.conrelid = to_regclass('litestar_queue_task') AND k.contype = 'c'

-- name: create_task_table
CREATE TABLE IF NOT EXISTS litestar_queue_task (
    /* slot: table */
) /* slot: storage */

-- name: create_key_index
CREATE UNIQUE INDEX IF NOT EXISTS litestar_queue_task_key ON litestar_queue_task (active_key)

-- name: create_ready_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_ready ON litestar_queue_task (priority DESC, due_at, id)
WHERE state = 'pending'

-- name: create_queue_ready_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_queue_ready ON litestar_queue_task (queue, priority DESC, due_at, id)
WHERE state = 'pending'

-- name: create_scheduled_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_scheduled ON litestar_queue_task (due_at, id)
WHERE state = 'scheduled'

-- name: create_queue_scheduled_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_queue_scheduled ON litestar_queue_task (queue, due_at, id)
WHERE state = 'scheduled'

-- Running tasks are few, and each of their heartbeats would write an index on it: this one serves the search for stale
-- ones by being short.

-- name: create_running_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_running ON litestar_queue_task (queue)
WHERE state = 'running'

-- Dispatched tasks are few as well, and have heartbeats.

-- name: create_dispatched_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_dispatched ON litestar_queue_task (queue)
WHERE state = 'dispatched'

-- name: create_overdue_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_overdue ON litestar_queue_task (expires_at, id)
WHERE expires_at IS NOT NULL AND state IN ('pending', 'scheduled')

-- name: create_finished_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_finished ON litestar_queue_task (finished_at, id)
WHERE finished_at IS NOT NULL

-- name: create_queue_finished_index
CREATE INDEX IF NOT EXISTS litestar_queue_task_queue_finished ON litestar_queue_task (queue, state)
WHERE state IN ('completed', 'failed', 'cancelled', 'expired')

-- name: create_lock_table
CREATE TABLE IF NOT EXISTS litestar_queue_task_lock (
    name text NOT NULL PRIMARY KEY,
    owner text NOT NULL,
    expires_at timestamptz NOT NULL
)

-- name: create_record_table
CREATE TABLE IF NOT EXISTS litestar_queue_task_record (
    name text /* slot: exact */ NOT NULL PRIMARY KEY,
    version bigint NOT NULL,
    value /* slot: json */ NOT NULL
)

-- Of several that change the schema, one does, and the others see then that it is done. None of them waits for long: behind
-- a change that waits for the table stands every worker that wants it.

-- name: lock_schema
SELECT set_config('lock_timeout', '2s', true), /* slot: schema_lock */

-- name: add_column
ALTER TABLE litestar_queue_task ADD COLUMN IF NOT EXISTS /* slot: column */

-- name: drop_column
ALTER TABLE litestar_queue_task DROP COLUMN /* slot: column_name */

-- name: widen_states
ALTER TABLE litestar_queue_task DROP CONSTRAINT IF EXISTS /* slot: state_check */,
ADD CONSTRAINT /* slot: states_check */ CHECK (state IN (/* slot: states */))

-- The version of the schema is the record of that name; it never falls.

-- name: schema_version
SELECT CAST(value AS text) FROM litestar_queue_task_record WHERE name = 'schema'

-- name: record_version
INSERT INTO litestar_queue_task_record AS held (name, version, value)
VALUES ('schema', 1, CAST(CAST(/* slot: version */ AS text) AS /* slot: json */))
ON CONFLICT (name) DO UPDATE SET version = held.version + 1, value = excluded.value
WHERE CAST(CAST(held.value AS text) AS integer) < /* slot: version */

-- name: check_schema
SELECT /* slot: columns */, active_key FROM litestar_queue_task LIMIT 0

-- name: version
SELECT CAST(CAST(current_setting('server_version_num') AS integer) / 10000 AS text)

-- name: now
SELECT clock_timestamp()

-- How many were stored, and when, in one row: with a row for each, a batch of 1,000 came to 0.44 of a bare COPY, and so to
-- 0.50.

-- name: enqueue
WITH stored AS (
INSERT INTO litestar_queue_task (/* slot: new_columns */, state, due_at, created_at)
SELECT
    /* slot: new_values */, CASE WHEN n.due_at > /* include: now */ THEN 'scheduled' ELSE 'pending' END,
    greatest(n.due_at, /* include: now */), /* include: now */
FROM json_to_recordset(CAST(CAST(:batch AS text) AS json)) AS n (/* slot: new_fields */)
ON CONFLICT DO NOTHING
RETURNING created_at
)
SELECT count(*), min(created_at) FROM stored

-- For as long as an open transaction holds a key, an enqueue of the same key waits, with a connection of the pool. It gives
-- the connection back now and then, so that others get one.

-- name: bound_wait
SELECT set_config('lock_timeout', '500ms', true)

-- name: enqueued
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE id = ANY(ARRAY(SELECT json_array_elements_text(CAST(CAST(:ids AS text) AS json))))
UNION ALL
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE active_key = ANY(ARRAY(SELECT json_array_elements_text(CAST(CAST(:keys AS text) AS json))))

-- The ids of a claim are an array, so that they are chosen once, and looked up by the primary key whatever the planner
-- believes their number to be.

-- name: promote
UPDATE litestar_queue_task SET state = 'pending' /* slot: onupdate */
WHERE id = ANY(ARRAY(
    SELECT id FROM litestar_queue_task
    WHERE state = 'scheduled' AND due_at <= /* include: now */
    ORDER BY due_at, id LIMIT CAST(:limit AS bigint) /* slot: skip_locked */
)) /* slot: unclaimed */

-- A queue is a range of one name here, and the order begins with it. With an equality, the order needs no queue, and a
-- planner that has counted mostly one queue takes the index without it: a claim of 100 then read past another queue's
-- 100,000 tasks, in 79 ms, for 1.1 ms so.

-- name: promote_queues
UPDATE litestar_queue_task SET state = 'pending' /* slot: onupdate */
WHERE id = ANY(ARRAY(
    SELECT s.id FROM json_array_elements_text(CAST(CAST(:queues AS text) AS json)) AS q (item)
    CROSS JOIN LATERAL (
        SELECT id, due_at FROM litestar_queue_task
        WHERE state = 'scheduled' AND queue >= q.item AND queue <= q.item AND due_at <= /* include: now */
        ORDER BY queue, due_at, id LIMIT CAST(:limit AS bigint) /* slot: skip_locked */
    ) AS s
    ORDER BY s.due_at, s.id LIMIT CAST(:limit AS bigint)
)) /* slot: unclaimed */

-- A claim of queues takes each queue's first tasks through its own part of the index, then the first of those: another
-- queue's backlog is never looked at.

-- fragment: first_ready
UPDATE litestar_queue_task SET /* include: take */
WHERE id = ANY(ARRAY(
    SELECT id FROM litestar_queue_task WHERE state = 'pending' AND /* include: claimable */

-- fragment: first_in_order
    ORDER BY priority DESC, due_at, id LIMIT CAST(:limit AS bigint) /* slot: skip_locked */
)) /* slot: unclaimed */
RETURNING /* slot: columns */

-- name: claim
/* include: first_ready */
/* include: first_in_order */

-- A claim that takes nothing where something is to be promoted first, so that most claims need no promotion, and are one
-- statement. The first to come due is read off the index by min(), which no planner answers by reading the table: after
-- EXISTS (... due_at <= now) one does that expects to meet such a row soon.

-- name: claim_unless_due
/* include: first_ready */
    AND coalesce((SELECT min(due_at) FROM litestar_queue_task WHERE state = 'scheduled') > /* include: now */, true)
/* include: first_in_order */

-- fragment: first_ready_of_queues
UPDATE litestar_queue_task SET /* include: take */
WHERE id = ANY(ARRAY(
    SELECT s.id FROM json_array_elements_text(CAST(CAST(:queues AS text) AS json)) AS q (item)
    CROSS JOIN LATERAL (
        SELECT id, priority, due_at FROM litestar_queue_task
        WHERE state = 'pending' AND queue >= q.item AND queue <= q.item AND /* include: claimable */
        ORDER BY queue, priority DESC, due_at, id LIMIT CAST(:limit AS bigint) /* slot: skip_locked */
    ) AS s

-- fragment: first_of_queues_in_order
    ORDER BY s.priority DESC, s.due_at, s.id LIMIT CAST(:limit AS bigint)
)) /* slot: unclaimed */
RETURNING /* slot: columns */

-- name: claim_queues
/* include: first_ready_of_queues */
/* include: first_of_queues_in_order */

-- name: claim_queues_unless_due
/* include: first_ready_of_queues */
    WHERE NOT EXISTS (
        SELECT 1 FROM json_array_elements_text(CAST(CAST(:queues AS text) AS json)) AS due_queue (item)
        WHERE (
            SELECT due_at FROM litestar_queue_task
            WHERE state = 'scheduled' AND queue >= due_queue.item AND queue <= due_queue.item
            ORDER BY queue, due_at, id LIMIT 1
        ) <= /* include: now */
    )
/* include: first_of_queues_in_order */

-- name: claim_held
UPDATE litestar_queue_task SET /* include: take */
WHERE id = ANY(ARRAY(
    SELECT t.id FROM /* include: held */ JOIN litestar_queue_task AS t ON t.id = h.id AND t.fence = h.fence
    WHERE h.fence >= 0
    AND (t.state IN ('pending', 'scheduled') OR (CAST(:dispatched AS integer) = 1 AND t.state = 'dispatched'))
    AND /* include: claimable */
    AND (
        CAST(:queues AS text) IS NULL
        OR t.queue IN (SELECT json_array_elements_text(CAST(CAST(:queues AS text) AS json)))
    )
    ORDER BY t.priority DESC, t.due_at, t.id LIMIT CAST(:limit AS bigint) /* slot: skip_locked_t */
)) /* slot: under_fence */
RETURNING /* slot: columns */

-- A row that another transaction has locked holds up the heartbeats of no other, nor is it recovered meanwhile. After a list
-- of states, the planner expects few rows, and compares each with each heartbeat: 540 ms for 1,000 of them, and 46 ms with
-- the CASE.

-- name: touch_heartbeats
UPDATE litestar_queue_task AS t
SET heartbeat_at = /* include: now */, progress = coalesce(CAST(h.progress AS /* slot: json */), t.progress),
stale_after = coalesce(h.stale_after, t.stale_after) /* slot: onupdate */
FROM /* include: held */
WHERE t.id = h.id AND t.fence = h.fence AND h.fence >= 0
AND CASE t.state WHEN 'running' THEN true WHEN 'dispatched' THEN true ELSE false END
AND t.id = ANY(ARRAY(
    SELECT l.id FROM /* include: held */ JOIN litestar_queue_task AS l ON l.id = h.id
    WHERE h.fence >= 0 /* slot: skip_locked_beats */
))
RETURNING t.id

-- name: commit
/* include: write */
RETURNING t.id

-- The same for a batch in which a task holds a key, or takes one. Two that take one key at the same moment meet at the
-- index, and the later of them is tried again.

-- name: commit_keys
/* include: write */
AND /* include: key_free */
RETURNING t.id

-- The same for tasks that a recovery takes from their owners.

-- name: commit_stale
/* include: write */
AND /* include: key_free */ AND t.state = 'running' AND /* include: silent */
AND t.id = ANY(ARRAY(
    SELECT l.id FROM json_to_recordset(CAST(CAST(:batch AS text) AS json)) AS c (/* slot: changed_fields */)
    JOIN litestar_queue_task AS l ON l.id = c.id
    WHERE c.fence > 0 /* slot: skip_locked_l */
))
RETURNING t.id

-- name: delete
DELETE FROM litestar_queue_task AS t USING /* include: held */
WHERE t.id = h.id AND t.fence = h.fence AND h.fence >= 0
AND t.state IN ('completed', 'failed', 'cancelled', 'expired')
RETURNING t.id

-- name: get
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE id = ANY(ARRAY(SELECT json_array_elements_text(CAST(CAST(:ids AS text) AS json))))

-- name: find_stale
SELECT /* slot: columns */ FROM litestar_queue_task AS t
WHERE state = 'running' AND /* include: silent */
ORDER BY heartbeat_at NULLS FIRST, id LIMIT CAST(:limit AS bigint)

-- name: free_tasks
SELECT l.id FROM litestar_queue_task AS l
WHERE l.id = ANY(ARRAY(SELECT json_array_elements_text(CAST(CAST(:ids AS text) AS json)))) /* slot: skip_locked_l */

-- name: find_dispatched
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state = 'dispatched'
AND (
    CAST(:execution_backends AS text) IS NULL
    OR execution_backend IN (SELECT json_array_elements_text(CAST(CAST(:execution_backends AS text) AS json)))
)
AND (
    heartbeat_at IS NULL OR stale_after IS NULL
    OR heartbeat_at + stale_after * interval '1 second' < CAST(:at AS timestamptz)
)
ORDER BY heartbeat_at NULLS FIRST, id LIMIT CAST(:limit AS bigint)

-- Dispatched tasks have an index of their own, so that the index of waiting tasks stays as older workers know it. Each part
-- is limited by itself: the order of the first is that of its index.

-- name: find_overdue
(
    SELECT /* slot: columns */ FROM litestar_queue_task
    WHERE state IN ('pending', 'scheduled') AND expires_at IS NOT NULL AND expires_at <= CAST(:at AS timestamptz)
    ORDER BY expires_at, id LIMIT CAST(:limit AS bigint)
)
UNION ALL
(
    SELECT /* slot: columns */ FROM litestar_queue_task
    WHERE state = 'dispatched' AND expires_at <= CAST(:at AS timestamptz)
    ORDER BY expires_at, id LIMIT CAST(:limit AS bigint)
)
ORDER BY expires_at, id LIMIT CAST(:limit AS bigint)

-- name: find_finished
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE finished_at >= CAST(:since AS timestamptz) AND finished_at < CAST(:before AS timestamptz)
ORDER BY finished_at, id LIMIT CAST(:limit AS bigint)

-- name: find_matching
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE (
    CAST(:states AS text) IS NULL OR state IN (SELECT json_array_elements_text(CAST(CAST(:states AS text) AS json)))
)
AND (CAST(:queues AS text) IS NULL OR queue IN (SELECT json_array_elements_text(CAST(CAST(:queues AS text) AS json))))
AND (CAST(:names AS text) IS NULL OR name IN (SELECT json_array_elements_text(CAST(CAST(:names AS text) AS json))))
AND (CAST(:key AS text) IS NULL OR key = CAST(:key AS text))
ORDER BY created_at DESC, id LIMIT CAST(:limit AS bigint)

-- fragment: counted
(CAST(:queues AS text) IS NULL OR queue IN (SELECT json_array_elements_text(CAST(CAST(:queues AS text) AS json))))

-- name: count
SELECT queue, 'pending' AS state, count(*) AS tasks FROM litestar_queue_task
WHERE state = 'pending' AND /* include: counted */ GROUP BY queue
UNION ALL
SELECT queue, 'scheduled', count(*) FROM litestar_queue_task
WHERE state = 'scheduled' AND /* include: counted */ GROUP BY queue
UNION ALL
SELECT queue, 'dispatched', count(*) FROM litestar_queue_task
WHERE state = 'dispatched' AND /* include: counted */ GROUP BY queue
UNION ALL
SELECT queue, 'running', count(*) FROM litestar_queue_task
WHERE state = 'running' AND /* include: counted */ GROUP BY queue
UNION ALL
SELECT queue, state, count(*) FROM litestar_queue_task
WHERE state IN ('completed', 'failed', 'cancelled', 'expired') AND /* include: counted */ GROUP BY queue, state

-- The same for a table whose one index of states and queues has all tasks: a model's.

-- name: count_all
SELECT queue, state, count(*) AS tasks FROM litestar_queue_task WHERE /* include: counted */ GROUP BY queue, state

-- name: next_due
SELECT min(due_at) FROM litestar_queue_task WHERE state = 'scheduled'

-- name: next_due_queues
SELECT min(first) FROM (
    SELECT (
        SELECT due_at FROM litestar_queue_task WHERE state = 'scheduled' AND queue >= q.item AND queue <= q.item
        ORDER BY queue, due_at, id LIMIT 1
    ) AS first
    FROM json_array_elements_text(CAST(CAST(:queues AS text) AS json)) AS q (item)
) AS queues

-- name: lock
INSERT INTO litestar_queue_task_lock AS held (name, owner, expires_at)
VALUES (
    CAST(:name AS text), CAST(:owner AS text),
    /* include: now */ + CAST(:ttl AS bigint) * interval '1 microsecond'
)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
WHERE held.owner = excluded.owner OR held.expires_at <= /* include: now */
RETURNING name

-- name: unlock
DELETE FROM litestar_queue_task_lock WHERE name = CAST(:name AS text) AND owner = CAST(:owner AS text)

-- name: read_named
SELECT name, version, CAST(value AS text) FROM litestar_queue_task_record
WHERE CAST(:prefix AS text) IS NULL OR left(name, length(CAST(:prefix AS text))) = CAST(:prefix AS text)

-- name: insert_named
INSERT INTO litestar_queue_task_record (name, version, value)
VALUES (CAST(:name AS text), 1, CAST(CAST(:value AS text) AS /* slot: json */))
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: update_named
UPDATE litestar_queue_task_record SET version = version + 1, value = CAST(CAST(:value AS text) AS /* slot: json */)
WHERE name = CAST(:name AS text) AND version = CAST(:seen AS bigint)
RETURNING name

-- name: notify
SELECT CAST(pg_notify(CAST(:channel AS text), CAST(:payload AS text)) AS text)
