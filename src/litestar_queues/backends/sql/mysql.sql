-- The statements of the mysql family: MySQL 8.0.19 or newer, and MariaDB 10.6 or newer.
--
-- The table is called litestar_queue_task here; the family puts the configured name in its place. A batch travels as one
-- JSON parameter of arrays, which JSON_TABLE unpacks in their order. Neither product has UPDATE ... RETURNING: rows are
-- locked and read, and written by a second statement of the same transaction. Where the products differ, a comment with
-- a version says so: MySQL executes what stands in /*!80017 */, MariaDB what stands in /*M!100600 */.
--
-- Times are DATETIME(6) in UTC; texts of times lose their offset before they are compared with them, because MySQL would
-- convert them to the time zone of the session. Users' values are exact text: the type JSON turns 1e22 into an integer
-- of its own and refuses what is nested deeply.
--
-- There are no partial indexes, and every task stands in every index: so there are few of them. In `urgency`, the
-- negated priority of a pending task and nothing else, one index has pending tasks in the order of claims and scheduled
-- ones in that of their times. `overdue_at` has a value in waiting tasks only, and costs others nothing.

-- fragment: ids
JSON_TABLE(:ids, '$[*]' COLUMNS (item VARCHAR(36) /* slot: exact */ PATH '$')) AS i

-- fragment: keys
JSON_TABLE(:keys, '$[*]' COLUMNS (item VARCHAR(255) /* slot: exact */ PATH '$')) AS k

-- fragment: queues
JSON_TABLE(:queues, '$[*]' COLUMNS (item VARCHAR(100) /* slot: exact */ PATH '$')) AS q

-- fragment: of_queues
(:queues IS NULL OR t.queue IN (SELECT q.item FROM /* include: queues */))

-- fragment: of_backends
(
    :execution_backends IS NULL OR t.execution_backend IN (
        SELECT e.item
        FROM JSON_TABLE(:execution_backends, '$[*]' COLUMNS (item VARCHAR(50) /* slot: exact */ PATH '$')) AS e
    )
)

-- fragment: due
t.due_at <= CAST(:now AS DATETIME(6))

-- fragment: claimable
/* include: due */
AND (t.expires_at IS NULL OR t.expires_at > CAST(:now AS DATETIME(6)))
AND /* include: of_backends */

-- For how many seconds the owner of a task may be silent.

-- fragment: window
coalesce(CASE WHEN :own = 1 THEN t.stale_after END, :allowed)

-- fragment: silent
(t.heartbeat_at IS NULL OR (
    (:longest IS NULL OR /* include: window */ < :longest)
    AND TIMESTAMPADD(MICROSECOND, CAST(round(/* include: window */ * 1000000) AS SIGNED), t.heartbeat_at)
    < CAST(:at AS DATETIME(6))
))

-- fragment: schema
IF(locate('.', 'litestar_queue_task') > 0, replace(substring_index('litestar_queue_task', '.', 1), '`', ''), DATABASE())

-- Answers with the names as they are configured, whichever way the server spells them.

-- name: existing
SELECT replace(substring_index('litestar_queue_task', '.', -1), '`', '') FROM information_schema.tables
WHERE table_schema = /* include: schema */
AND table_name = replace(substring_index('litestar_queue_task', '.', -1), '`', '')
UNION ALL
SELECT replace(substring_index('litestar_queue_task_lock', '.', -1), '`', '') FROM information_schema.tables
WHERE table_schema = /* include: schema */
AND table_name = replace(substring_index('litestar_queue_task_lock', '.', -1), '`', '')
UNION ALL
SELECT replace(substring_index('litestar_queue_task_record', '.', -1), '`', '') FROM information_schema.tables
WHERE table_schema = /* include: schema */
AND table_name = replace(substring_index('litestar_queue_task_record', '.', -1), '`', '')
UNION ALL
SELECT concat('.', column_name) FROM information_schema.columns
WHERE table_schema = /* include: schema */
AND table_name = replace(substring_index('litestar_queue_task', '.', -1), '`', '')

-- Of two that create a table at one moment, one meets an error, and looks again. IF NOT EXISTS would leave a warning in
-- the logs of the application.

-- name: create_task_table
CREATE TABLE litestar_queue_task (
    /* slot: table */,
    urgency BIGINT GENERATED ALWAYS AS (CASE state WHEN 'pending' THEN -priority ELSE 0 END) STORED,
    overdue_at DATETIME(6) GENERATED ALWAYS AS (CASE WHEN state IN ('pending', 'scheduled') THEN expires_at END) STORED,
    UNIQUE KEY litestar_queue_task_key (active_key),
    KEY litestar_queue_task_ready (state, urgency, due_at, id),
    KEY litestar_queue_task_queue_ready (queue, state, urgency, due_at, id),
    KEY litestar_queue_task_overdue (overdue_at, id),
    KEY litestar_queue_task_finished (finished_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT /* slot: exact */

-- name: create_lock_table
CREATE TABLE litestar_queue_task_lock (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    expires_at DATETIME(6) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT /* slot: exact */

-- name: create_record_table
CREATE TABLE litestar_queue_task_record (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    value LONGTEXT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT /* slot: exact */

-- Behind a change that waits for the table stands every worker that wants it: it does not wait for long, and comes again. An
-- attempt that fails leaves its session so: whatever else waits there for a definition is tried again as well.

-- name: lock_schema
SET SESSION lock_wait_timeout = 2

-- name: unlock_schema
SET SESSION lock_wait_timeout = DEFAULT

-- Of two that add a column at one moment, one meets an error, and looks again.

-- name: add_column
ALTER TABLE litestar_queue_task ADD COLUMN /* slot: column */

-- name: drop_column
ALTER TABLE litestar_queue_task DROP COLUMN /* slot: column_name */

-- name: widen_states
ALTER TABLE litestar_queue_task /* slot: state_check */

-- The version of the schema is the record of that name; it never falls.

-- name: schema_version
SELECT value FROM litestar_queue_task_record WHERE name = 'schema'

-- name: record_version
INSERT INTO litestar_queue_task_record (name, version, value) VALUES ('schema', 1, /* slot: version */)
ON DUPLICATE KEY UPDATE
    version = IF(CAST(value AS SIGNED) < /* slot: version */, version + 1, version),
    value = IF(CAST(value AS SIGNED) < /* slot: version */, /* slot: version */, value)

-- name: check_schema
SELECT /* slot: columns */, t.active_key, t.urgency, t.overdue_at FROM litestar_queue_task AS t LIMIT 0

-- name: version
SELECT version()

-- name: longest
SELECT @@max_allowed_packet

-- name: now
SELECT UTC_TIMESTAMP(6)

-- An id that is stored already, or a key that is held, leaves its row as it is, and counts as none. IGNORE would do the
-- same, and would cut short what is too long.

-- MariaDB gives a connection back that waits for a key which an open transaction holds, so that others get one. MySQL has no
-- such limit for one statement.

-- name: enqueue
/*M!100600 SET STATEMENT innodb_lock_wait_timeout = 1 FOR */ INSERT INTO litestar_queue_task (/* slot: new_columns */, created_at)
SELECT /* slot: new_values */, CAST(:now AS DATETIME(6))
FROM JSON_TABLE(:batch, '$[*]' COLUMNS (/* slot: new_fields */)) AS n
ON DUPLICATE KEY UPDATE id = litestar_queue_task.id

-- Reads rows as they are, and not as they were when the transaction began: an insert that met them has locked them.

-- name: enqueued
(SELECT /* slot: columns */ FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t FORCE INDEX (/* slot: id_index */)
    ON t.id = i.item
FOR UPDATE /*!80017 OF t */)
UNION ALL
(SELECT /* slot: columns */ FROM /* include: keys */ STRAIGHT_JOIN litestar_queue_task AS t FORCE INDEX (litestar_queue_task_key)
    ON t.active_key = k.item
FOR UPDATE /*!80017 OF t */)

-- name: promote
UPDATE (
    SELECT t.id FROM litestar_queue_task AS t FORCE INDEX (/* slot: scheduled_index */)
    WHERE /* slot: scheduled */ AND /* include: due */
    ORDER BY t.due_at, t.id LIMIT :limit FOR UPDATE SKIP LOCKED
) AS s STRAIGHT_JOIN litestar_queue_task AS t ON t.id = s.id
SET t.state = 'pending' /* slot: onupdate */

-- name: promote_queue
UPDATE (
    SELECT t.id FROM litestar_queue_task AS t FORCE INDEX (/* slot: queue_scheduled_index */)
    WHERE t.queue = :queue AND /* slot: scheduled */ AND /* include: due */
    ORDER BY t.due_at, t.id LIMIT :limit FOR UPDATE SKIP LOCKED
) AS s STRAIGHT_JOIN litestar_queue_task AS t ON t.id = s.id
SET t.state = 'pending' /* slot: onupdate */

-- The order of the index is that of the claim, so that no more rows are read, and locked, than are wanted.

-- name: claim_lock
SELECT /* slot: columns */ FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_ready)
WHERE t.state = 'pending' AND /* include: claimable */
ORDER BY t.urgency, t.due_at, t.id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: claim_queue_lock
SELECT /* slot: columns */ FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_queue_ready)
WHERE t.queue = :queue AND t.state = 'pending' AND /* include: claimable */
ORDER BY t.urgency, t.due_at, t.id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: claim_held_lock
SELECT /* slot: columns */
FROM JSON_TABLE(:held, '$[*]' COLUMNS (/* slot: held_fields */)) AS h STRAIGHT_JOIN litestar_queue_task AS t ON t.id = h.id AND t.fence = h.fence
WHERE (t.state IN ('pending', 'scheduled') OR (:dispatched = 1 AND t.state = 'dispatched'))
AND /* include: claimable */ AND /* include: of_queues */
ORDER BY t.priority DESC, t.due_at, t.id LIMIT :limit FOR UPDATE /*!80017 OF t */ SKIP LOCKED

-- A small table would be read as a whole without an index by name, and each row that is read is locked, or waited for.

-- name: lock_tasks
SELECT /* slot: columns */ FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t FORCE INDEX (/* slot: id_index */)
ON t.id = i.item
FOR UPDATE /*!80017 OF t */

-- name: lock_free_tasks
SELECT /* slot: columns */ FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t FORCE INDEX (/* slot: id_index */)
ON t.id = i.item
FOR UPDATE /*!80017 OF t */ SKIP LOCKED

-- name: lock_keys
SELECT t.active_key, t.id FROM /* include: keys */ STRAIGHT_JOIN litestar_queue_task AS t FORCE INDEX (litestar_queue_task_key)
ON t.active_key = k.item
FOR UPDATE /*!80017 OF t */

-- name: write_tasks
UPDATE JSON_TABLE(:batch, '$[*]' COLUMNS (/* slot: changed_fields */)) AS c
STRAIGHT_JOIN litestar_queue_task AS t FORCE INDEX (/* slot: id_index */) ON t.id = c.id
SET /* slot: changes */ /* slot: onupdate */

-- name: delete_tasks
DELETE t FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t FORCE INDEX (/* slot: id_index */)
ON t.id = i.item

-- name: get
SELECT /* slot: columns */ FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t ON t.id = i.item

-- name: find_stale
SELECT /* slot: columns */ FROM litestar_queue_task AS t FORCE INDEX (/* slot: running_index */)
WHERE t.state = 'running' AND /* include: silent */
ORDER BY t.heartbeat_at, t.id LIMIT :limit

-- name: find_dispatched
SELECT /* slot: columns */ FROM litestar_queue_task AS t FORCE INDEX (/* slot: running_index */)
WHERE t.state = 'dispatched' AND /* include: of_backends */
AND (
    t.heartbeat_at IS NULL OR t.stale_after IS NULL
    OR TIMESTAMPADD(MICROSECOND, CAST(round(t.stale_after * 1000000) AS SIGNED), t.heartbeat_at)
    < CAST(:at AS DATETIME(6))
)
ORDER BY t.heartbeat_at, t.id LIMIT :limit

-- Dispatched tasks are few, and found by their state: `overdue_at`, which every row has stored, stays as it was.

-- name: find_overdue
SELECT /* slot: columns */ FROM (
    (
        SELECT t.* FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_overdue)
        WHERE t.state IN ('pending', 'scheduled') AND t.overdue_at <= CAST(:at AS DATETIME(6))
        ORDER BY t.overdue_at, t.id LIMIT :limit
    )
    UNION ALL
    (
        SELECT t.* FROM litestar_queue_task AS t FORCE INDEX (/* slot: running_index */)
        WHERE t.state = 'dispatched' AND t.expires_at <= CAST(:at AS DATETIME(6))
        ORDER BY t.expires_at, t.id LIMIT :limit
    )
) AS t
ORDER BY t.expires_at, t.id LIMIT :limit

-- name: find_finished
SELECT /* slot: columns */ FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_finished)
WHERE t.finished_at >= CAST(:since AS DATETIME(6)) AND t.finished_at < CAST(:before AS DATETIME(6))
ORDER BY t.finished_at, t.id LIMIT :limit

-- name: find_matching
SELECT /* slot: columns */ FROM litestar_queue_task AS t
WHERE (
    :states IS NULL OR t.state IN (
        SELECT s.item FROM JSON_TABLE(:states, '$[*]' COLUMNS (item VARCHAR(10) /* slot: exact */ PATH '$')) AS s
    )
)
AND /* include: of_queues */
AND (
    :names IS NULL OR t.name IN (
        SELECT n.item FROM JSON_TABLE(:names, '$[*]' COLUMNS (item VARCHAR(200) /* slot: exact */ PATH '$')) AS n
    )
)
AND (:key IS NULL OR t.`key` = :key)
ORDER BY t.created_at DESC, t.id LIMIT :limit

-- name: count
SELECT t.queue, t.state, count(*) AS tasks FROM litestar_queue_task AS t FORCE INDEX (/* slot: queue_scheduled_index */)
WHERE /* include: of_queues */
GROUP BY t.queue, t.state

-- name: next_due
SELECT t.due_at FROM litestar_queue_task AS t FORCE INDEX (/* slot: scheduled_index */)
WHERE /* slot: scheduled */
ORDER BY t.due_at LIMIT 1

-- MySQL sees that the order is the index's only if it names all of its columns; MariaDB 10.11 only if it does not.

-- name: next_due_queues
SELECT min(f.first) FROM (
    SELECT (
        SELECT t.due_at FROM litestar_queue_task AS t FORCE INDEX (/* slot: queue_scheduled_index */)
        WHERE t.queue = q.item AND /* slot: scheduled */
        ORDER BY /* slot: queue_scheduled_order */ t.due_at LIMIT 1
    ) AS first
    FROM /* include: queues */
) AS f

-- name: lock_read
SELECT owner, expires_at FROM litestar_queue_task_lock WHERE name = :name FOR UPDATE

-- Decides once more: where there was no row to lock, another may have inserted one meanwhile.

-- name: lock_write
INSERT INTO litestar_queue_task_lock (name, owner, expires_at)
VALUES (:name, :owner, CAST(:expires_at AS DATETIME(6)))
ON DUPLICATE KEY UPDATE
    owner = IF(owner = :owner OR expires_at <= CAST(:now AS DATETIME(6)), :owner, owner),
    expires_at = IF(owner = :owner, CAST(:expires_at AS DATETIME(6)), expires_at)

-- name: unlock
DELETE FROM litestar_queue_task_lock WHERE name = :name AND owner = :owner

-- name: read_named
SELECT name, version, value FROM litestar_queue_task_record
WHERE :prefix IS NULL OR left(name, char_length(:prefix)) = :prefix

-- name: insert_named
INSERT INTO litestar_queue_task_record (name, version, value)
SELECT f.name, 1, f.value FROM (SELECT :name AS name, :value AS value) AS f
WHERE NOT EXISTS (SELECT 1 FROM litestar_queue_task_record AS r WHERE r.name = :name)

-- name: update_named
UPDATE litestar_queue_task_record SET version = version + 1, value = :value WHERE name = :name AND version = :seen
