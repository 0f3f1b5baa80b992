-- The statements of the duckdb family: DuckDB 2.0 or newer. Before, an index lost entries where one transaction moved
-- several keys, and one file under two names was two databases.
--
-- The table is called litestar_queue_task here; the family puts the configured name in its place. A batch travels as one
-- JSON parameter of objects, which from_json turns into a list of structs, and unnest into rows. Users' values are JSON
-- columns: the type keeps the text as it was written. Times are TIMESTAMP in UTC, which needs neither ICU nor a time zone
-- on the client's side; a parameter is the text of a time, and is cast where it is used.
--
-- The two indexes keep ids and keys unique, and are good for nothing else: a claim looks through the columns that it asks
-- about, which is what DuckDB is made for.
--
-- An update that sets an indexed column is a deletion and an insertion; one that sets none is made in place. Between the
-- one kind and the other DuckDB 2.0 finds no conflict, and forgets the latter. So the updates of a process go through one
-- thread, one after another; an insertion may stand in anybody's transaction.

-- fragment: claimable
due_at <= CAST(:now AS TIMESTAMP)
AND (expires_at IS NULL OR expires_at > CAST(:now AS TIMESTAMP))
AND (
    CAST(:execution_backends AS VARCHAR) IS NULL
    OR execution_backend IN (SELECT unnest(from_json(CAST(:execution_backends AS JSON), '["VARCHAR"]')))
)

-- A claim to run counts an attempt. A reservation counts none, and clears the reference of an earlier run.

-- fragment: take
state = CAST(:taken AS VARCHAR), attempt = attempt + CAST(:counted AS INTEGER), fence = fence + 1,
worker = CAST(:worker AS VARCHAR), heartbeat_at = CAST(:now AS TIMESTAMP), stale_after = CAST(:stale_after AS DOUBLE),
started_at = CASE WHEN CAST(:counted AS INTEGER) = 1 THEN CAST(:now AS TIMESTAMP) ELSE started_at END,
execution_ref = CASE
    WHEN CAST(:counted AS INTEGER) = 1 THEN coalesce(CAST(:execution_ref AS VARCHAR), execution_ref)
END

-- fragment: held
(
    SELECT unnest(
        from_json(CAST(:held AS JSON), /* slot: held_fields */), recursive := true
    )
) AS h

-- fragment: in_queues
(
    CAST(:queues AS VARCHAR) IS NULL
    OR queue IN (SELECT unnest(from_json(CAST(:queues AS JSON), '["VARCHAR"]')))
)

-- fragment: write
UPDATE litestar_queue_task AS t SET /* slot: changes */
FROM (
    SELECT unnest(from_json(CAST(:batch AS JSON), /* slot: changed_fields */), recursive := true)
) AS c
WHERE t.id = c.id AND t.fence = c.fence - 1

-- fragment: key_free
(c.active_key IS NULL OR NOT EXISTS (
    SELECT 1 FROM litestar_queue_task AS holder WHERE holder.active_key = c.active_key AND holder.id <> c.id
))

-- For how many seconds the owner of a task may be silent.

-- fragment: window
coalesce(CASE WHEN CAST(:own AS INTEGER) = 1 THEN t.stale_after END, CAST(:allowed AS DOUBLE))

-- fragment: silent
(t.heartbeat_at IS NULL OR (
    (CAST(:longest AS DOUBLE) IS NULL OR /* include: window */ < CAST(:longest AS DOUBLE))
    AND t.heartbeat_at + to_microseconds(CAST(round(/* include: window */ * 1000000) AS BIGINT)) < CAST(:at AS TIMESTAMP)
))

-- fragment: schema
CASE
    WHEN contains('litestar_queue_task', '.') THEN trim(split_part('litestar_queue_task', '.', 1), '"')
    ELSE current_schema()
END

-- name: existing
SELECT table_name FROM duckdb_tables()
WHERE database_name = current_database() AND schema_name = /* include: schema */
AND table_name IN (
    trim(split_part('litestar_queue_task', '.', -1), '"'), trim(split_part('litestar_queue_task_lock', '.', -1), '"'),
    trim(split_part('litestar_queue_task_record', '.', -1), '"')
)
UNION ALL
SELECT '.' || column_name FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = /* include: schema */
AND table_name = trim(split_part('litestar_queue_task', '.', -1), '"')
UNION ALL
SELECT index_name FROM duckdb_indexes()
WHERE database_name = current_database() AND schema_name = /* include: schema */
AND table_name = trim(split_part('litestar_queue_task', '.', -1), '"')

-- name: create_task_table
CREATE TABLE IF NOT EXISTS litestar_queue_task (
    /* slot: table */
)

-- name: create_key_index
CREATE UNIQUE INDEX IF NOT EXISTS litestar_queue_task_key ON litestar_queue_task (active_key)

-- name: create_lock_table
CREATE TABLE IF NOT EXISTS litestar_queue_task_lock (
    name VARCHAR NOT NULL PRIMARY KEY,
    owner VARCHAR NOT NULL,
    expires_at TIMESTAMP NOT NULL
)

-- name: create_record_table
CREATE TABLE IF NOT EXISTS litestar_queue_task_record (
    name VARCHAR NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    value JSON NOT NULL
)

-- name: add_column
ALTER TABLE litestar_queue_task ADD COLUMN IF NOT EXISTS /* slot: column */

-- The version of the schema is the record of that name; it never falls.

-- name: schema_version
SELECT value FROM litestar_queue_task_record WHERE name = 'schema'

-- name: record_version
INSERT INTO litestar_queue_task_record AS held (name, version, value)
VALUES ('schema', 1, CAST(/* slot: version */ AS VARCHAR))
ON CONFLICT (name) DO UPDATE SET version = held.version + 1, value = excluded.value
WHERE CAST(CAST(held.value AS VARCHAR) AS INTEGER) < /* slot: version */

-- DuckDB changes nothing of a table that has an index but adding a column, which need not have a value: a new one takes
-- its place, and gets its indexes.

-- name: rebuild_create
CREATE TABLE litestar_queue_task_new (
    /* slot: whole_table */
) /* slot: options */

-- name: rebuild_copy
INSERT INTO litestar_queue_task_new (/* slot: whole */) SELECT /* slot: whole */ FROM litestar_queue_task

-- name: rebuild_drop
DROP TABLE litestar_queue_task

-- name: rebuild_rename
ALTER TABLE litestar_queue_task_new RENAME TO /* slot: bare */

-- name: check_schema
SELECT /* slot: columns */, active_key FROM litestar_queue_task LIMIT 0

-- name: version
SELECT ltrim(version(), 'v')

-- Of several tasks with one key, DuckDB would keep any: the first is chosen beforehand. And beside two unique indexes
-- ON CONFLICT takes time that grows with the table: 2.6 s for 5,000 tasks where there were 60,000, against 10 ms. What
-- another transaction stored meanwhile is an error then, after which all of it is done once more.

-- name: enqueue
INSERT INTO litestar_queue_task (/* slot: new_columns */, created_at)
SELECT /* slot: new_values */, CAST(:now AS TIMESTAMP)
FROM (
    SELECT unnest(b.tasks, recursive := true), generate_subscripts(b.tasks, 1) AS position
    FROM (
        SELECT from_json(CAST(:batch AS JSON), /* slot: new_fields */) AS tasks
    ) AS b
) AS n
WHERE NOT EXISTS (SELECT 1 FROM litestar_queue_task AS t WHERE t.id = n.id)
AND (n.key IS NULL OR NOT EXISTS (SELECT 1 FROM litestar_queue_task AS t WHERE t.active_key = n.key))
QUALIFY (n.key IS NULL OR row_number() OVER (PARTITION BY n.key ORDER BY n.position) = 1)
AND row_number() OVER (PARTITION BY n.id ORDER BY n.position) = 1

-- name: enqueued
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE id IN (SELECT unnest(from_json(CAST(:ids AS JSON), '["VARCHAR"]')))
UNION ALL
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE active_key IN (SELECT unnest(from_json(CAST(:keys AS JSON), '["VARCHAR"]')))

-- name: promote
UPDATE litestar_queue_task SET state = 'pending'
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'scheduled' AND due_at <= CAST(:now AS TIMESTAMP)
    ORDER BY due_at, id LIMIT CAST(:limit AS BIGINT)
)

-- name: promote_queues
UPDATE litestar_queue_task SET state = 'pending'
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'scheduled' AND due_at <= CAST(:now AS TIMESTAMP) AND /* include: in_queues */
    ORDER BY due_at, id LIMIT CAST(:limit AS BIGINT)
)

-- name: claim
UPDATE litestar_queue_task SET /* include: take */
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'pending' AND /* include: claimable */
    ORDER BY priority DESC, due_at, id LIMIT CAST(:limit AS BIGINT)
)
RETURNING /* slot: columns */

-- name: claim_queues
UPDATE litestar_queue_task SET /* include: take */
WHERE rowid IN (
    SELECT rowid FROM litestar_queue_task
    WHERE state = 'pending' AND /* include: in_queues */ AND /* include: claimable */
    ORDER BY priority DESC, due_at, id LIMIT CAST(:limit AS BIGINT)
)
RETURNING /* slot: columns */

-- name: claim_held
UPDATE litestar_queue_task SET /* include: take */
WHERE rowid IN (
    SELECT t.rowid FROM litestar_queue_task AS t JOIN /* include: held */ ON t.id = h.id AND t.fence = h.fence
    WHERE (t.state IN ('pending', 'scheduled') OR (CAST(:dispatched AS INTEGER) = 1 AND t.state = 'dispatched'))
    AND /* include: in_queues */ AND /* include: claimable */
    ORDER BY t.priority DESC, t.due_at, t.id LIMIT CAST(:limit AS BIGINT)
)
RETURNING /* slot: columns */

-- name: touch_heartbeats
UPDATE litestar_queue_task AS t
SET heartbeat_at = CAST(:now AS TIMESTAMP), progress = coalesce(h.progress, t.progress),
stale_after = coalesce(h.stale_after, t.stale_after)
FROM /* include: held */
WHERE t.id = h.id AND t.fence = h.fence AND t.state IN ('running', 'dispatched')
RETURNING t.id

-- name: commit
/* include: write */
RETURNING t.id

-- name: commit_keys
/* include: write */
AND /* include: key_free */
RETURNING t.id

-- The same for tasks that a recovery takes from their owners.

-- name: commit_stale
/* include: write */
AND /* include: key_free */ AND t.state = 'running' AND /* include: silent */
RETURNING t.id

-- name: delete
DELETE FROM litestar_queue_task AS t USING /* include: held */
WHERE t.id = h.id AND t.fence = h.fence AND t.state IN ('completed', 'failed', 'cancelled', 'expired')
RETURNING t.id

-- name: get
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE id IN (SELECT unnest(from_json(CAST(:ids AS JSON), '["VARCHAR"]')))

-- name: find_stale
SELECT /* slot: columns */ FROM litestar_queue_task AS t
WHERE state = 'running' AND /* include: silent */
ORDER BY heartbeat_at NULLS FIRST, id LIMIT CAST(:limit AS BIGINT)

-- name: find_dispatched
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state = 'dispatched'
AND (
    CAST(:execution_backends AS VARCHAR) IS NULL
    OR execution_backend IN (SELECT unnest(from_json(CAST(:execution_backends AS JSON), '["VARCHAR"]')))
)
AND (
    heartbeat_at IS NULL OR stale_after IS NULL
    OR heartbeat_at + to_microseconds(CAST(round(stale_after * 1000000) AS BIGINT)) < CAST(:at AS TIMESTAMP)
)
ORDER BY heartbeat_at NULLS FIRST, id LIMIT CAST(:limit AS BIGINT)

-- name: find_overdue
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE state IN ('pending', 'scheduled', 'dispatched') AND expires_at <= CAST(:at AS TIMESTAMP)
ORDER BY expires_at, id LIMIT CAST(:limit AS BIGINT)

-- name: find_finished
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE finished_at >= CAST(:since AS TIMESTAMP) AND finished_at < CAST(:before AS TIMESTAMP)
ORDER BY finished_at, id LIMIT CAST(:limit AS BIGINT)

-- name: find_matching
SELECT /* slot: columns */ FROM litestar_queue_task
WHERE (
    CAST(:states AS VARCHAR) IS NULL OR state IN (SELECT unnest(from_json(CAST(:states AS JSON), '["VARCHAR"]')))
)
AND /* include: in_queues */
AND (CAST(:names AS VARCHAR) IS NULL OR name IN (SELECT unnest(from_json(CAST(:names AS JSON), '["VARCHAR"]'))))
AND (CAST(:key AS VARCHAR) IS NULL OR key = CAST(:key AS VARCHAR))
ORDER BY created_at DESC, id LIMIT CAST(:limit AS BIGINT)

-- name: count
SELECT queue, state, count(*) AS tasks FROM litestar_queue_task WHERE /* include: in_queues */ GROUP BY queue, state

-- name: next_due
SELECT min(due_at) FROM litestar_queue_task WHERE state = 'scheduled'

-- name: next_due_queues
SELECT min(due_at) FROM litestar_queue_task WHERE state = 'scheduled' AND /* include: in_queues */

-- name: lock
INSERT INTO litestar_queue_task_lock AS held (name, owner, expires_at)
VALUES (CAST(:name AS VARCHAR), CAST(:owner AS VARCHAR), CAST(:expires_at AS TIMESTAMP))
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
WHERE held.owner = excluded.owner OR held.expires_at <= CAST(:now AS TIMESTAMP)
RETURNING name

-- name: unlock
DELETE FROM litestar_queue_task_lock WHERE name = CAST(:name AS VARCHAR) AND owner = CAST(:owner AS VARCHAR)

-- name: read_named
SELECT name, version, CAST(value AS VARCHAR) FROM litestar_queue_task_record
WHERE CAST(:prefix AS VARCHAR) IS NULL OR starts_with(name, CAST(:prefix AS VARCHAR))

-- name: insert_named
INSERT INTO litestar_queue_task_record (name, version, value) VALUES (CAST(:name AS VARCHAR), 1, :value)
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: update_named
UPDATE litestar_queue_task_record SET version = version + 1, value = :value
WHERE name = CAST(:name AS VARCHAR) AND version = CAST(:seen AS BIGINT)
RETURNING name
