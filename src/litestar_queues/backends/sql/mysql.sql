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

-- fragment: exact
CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */

-- fragment: columns
t.id, t.name, t.queue, t.state, t.priority, t.attempt, t.max_attempts, t.fence, t.`key`, t.args, t.kwargs, t.metadata,
t.description, t.timeout, t.execution_backend, t.execution_profile, t.execution_ref, t.worker, t.progress, t.result,
t.error, t.created_at, t.due_at, t.expires_at, t.started_at, t.heartbeat_at, t.finished_at

-- fragment: ids
JSON_TABLE(:ids, '$[*]' COLUMNS (id VARCHAR(36) /* include: exact */ PATH '$')) AS i

-- fragment: keys
JSON_TABLE(:keys, '$[*]' COLUMNS (`key` VARCHAR(255) /* include: exact */ PATH '$')) AS k

-- fragment: queues
JSON_TABLE(:queues, '$[*]' COLUMNS (name VARCHAR(100) /* include: exact */ PATH '$')) AS q

-- fragment: of_queues
(:queues IS NULL OR t.queue IN (SELECT q.name FROM /* include: queues */))

-- fragment: due
t.due_at <= CAST(:now AS DATETIME(6))

-- fragment: claimable
/* include: due */
AND (t.expires_at IS NULL OR t.expires_at > CAST(:now AS DATETIME(6)))
AND (
    :execution_backends IS NULL OR t.execution_backend IN (
        SELECT e.name
        FROM JSON_TABLE(:execution_backends, '$[*]' COLUMNS (name VARCHAR(50) /* include: exact */ PATH '$')) AS e
    )
)

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

-- Of two that create a table at one moment, one meets an error, and looks again. IF NOT EXISTS would leave a warning in
-- the logs of the application.

-- name: create_task_table
CREATE TABLE litestar_queue_task (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(200) NOT NULL,
    queue VARCHAR(100) NOT NULL,
    state VARCHAR(9) NOT NULL CHECK (state IN (/* slot: states */)),
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    fence BIGINT NOT NULL,
    `key` VARCHAR(255),
    active_key VARCHAR(255),
    args LONGTEXT NOT NULL,
    kwargs LONGTEXT NOT NULL,
    metadata LONGTEXT NOT NULL,
    description TEXT,
    timeout DOUBLE,
    execution_backend VARCHAR(50) NOT NULL,
    execution_profile VARCHAR(100),
    execution_ref TEXT,
    worker TEXT,
    progress LONGTEXT,
    result LONGTEXT,
    error LONGTEXT,
    created_at DATETIME(6) NOT NULL,
    due_at DATETIME(6) NOT NULL,
    expires_at DATETIME(6),
    started_at DATETIME(6),
    heartbeat_at DATETIME(6),
    finished_at DATETIME(6),
    urgency BIGINT GENERATED ALWAYS AS (CASE state WHEN 'pending' THEN -priority ELSE 0 END) STORED,
    overdue_at DATETIME(6) GENERATED ALWAYS AS (CASE WHEN state IN ('pending', 'scheduled') THEN expires_at END) STORED,
    UNIQUE KEY litestar_queue_task_key (active_key),
    KEY litestar_queue_task_ready (state, urgency, due_at, id),
    KEY litestar_queue_task_queue_ready (queue, state, urgency, due_at, id),
    KEY litestar_queue_task_overdue (overdue_at, id),
    KEY litestar_queue_task_finished (finished_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT /* include: exact */

-- name: create_lock_table
CREATE TABLE litestar_queue_task_lock (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    expires_at DATETIME(6) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT /* include: exact */

-- name: check_schema
SELECT /* include: columns */, t.active_key, t.urgency, t.overdue_at FROM litestar_queue_task AS t LIMIT 0

-- name: version
SELECT version()

-- name: now
SELECT UTC_TIMESTAMP(6)

-- An id that is stored already, or a key that is held, leaves its row as it is, and counts as none. IGNORE would do the
-- same, and would cut short what is too long.

-- name: enqueue
INSERT INTO litestar_queue_task (
    id, name, queue, state, priority, attempt, max_attempts, fence, `key`, active_key, args, kwargs, metadata,
    description, timeout, execution_backend, execution_profile, created_at, due_at, expires_at
)
SELECT
    n.id, n.name, n.queue, n.state, n.priority, 0, n.max_attempts, 0, n.`key`, n.`key`, n.args, n.kwargs, n.metadata,
    n.description, n.timeout, n.execution_backend, n.execution_profile, CAST(:now AS DATETIME(6)), LEFT(n.due_at, 26),
    LEFT(n.expires_at, 26)
FROM JSON_TABLE(:batch, '$[*]' COLUMNS (
    id VARCHAR(36) /* include: exact */ PATH '$[0]',
    name VARCHAR(200) /* include: exact */ PATH '$[1]',
    queue VARCHAR(100) /* include: exact */ PATH '$[2]',
    state VARCHAR(9) /* include: exact */ PATH '$[3]',
    priority INTEGER PATH '$[4]',
    max_attempts INTEGER PATH '$[5]',
    `key` VARCHAR(255) /* include: exact */ PATH '$[6]',
    args LONGTEXT /* include: exact */ PATH '$[7]',
    kwargs LONGTEXT /* include: exact */ PATH '$[8]',
    metadata LONGTEXT /* include: exact */ PATH '$[9]',
    description TEXT /* include: exact */ PATH '$[10]',
    timeout DOUBLE PATH '$[11]',
    execution_backend VARCHAR(50) /* include: exact */ PATH '$[12]',
    execution_profile VARCHAR(100) /* include: exact */ PATH '$[13]',
    due_at VARCHAR(32) PATH '$[14]',
    expires_at VARCHAR(32) PATH '$[15]'
)) AS n
ON DUPLICATE KEY UPDATE id = litestar_queue_task.id

-- Reads rows as they are, and not as they were when the transaction began: an insert that met them has locked them.

-- name: enqueued
(SELECT /* include: columns */ FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t ON t.id = i.id
FOR UPDATE /*!80017 OF t */)
UNION ALL
(SELECT /* include: columns */ FROM /* include: keys */ STRAIGHT_JOIN litestar_queue_task AS t ON t.active_key = k.`key`
FOR UPDATE /*!80017 OF t */)

-- name: promote
UPDATE (
    SELECT t.id FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_ready)
    WHERE t.state = 'scheduled' AND t.urgency = 0 AND /* include: due */
    ORDER BY t.due_at, t.id LIMIT :limit FOR UPDATE SKIP LOCKED
) AS s STRAIGHT_JOIN litestar_queue_task AS t ON t.id = s.id
SET t.state = 'pending'

-- name: promote_queue
UPDATE (
    SELECT t.id FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_queue_ready)
    WHERE t.queue = :queue AND t.state = 'scheduled' AND t.urgency = 0 AND /* include: due */
    ORDER BY t.due_at, t.id LIMIT :limit FOR UPDATE SKIP LOCKED
) AS s STRAIGHT_JOIN litestar_queue_task AS t ON t.id = s.id
SET t.state = 'pending'

-- The order of the index is that of the claim, so that no more rows are read, and locked, than are wanted.

-- name: claim_lock
SELECT /* include: columns */ FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_ready)
WHERE t.state = 'pending' AND /* include: claimable */
ORDER BY t.urgency, t.due_at, t.id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: claim_queue_lock
SELECT /* include: columns */ FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_queue_ready)
WHERE t.queue = :queue AND t.state = 'pending' AND /* include: claimable */
ORDER BY t.urgency, t.due_at, t.id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: claim_held_lock
SELECT /* include: columns */
FROM JSON_TABLE(
    :held, '$[*]' COLUMNS (id VARCHAR(36) /* include: exact */ PATH '$[0]', fence BIGINT PATH '$[1]')
) AS h STRAIGHT_JOIN litestar_queue_task AS t ON t.id = h.id AND t.fence = h.fence
WHERE t.state IN ('pending', 'scheduled') AND /* include: claimable */ AND /* include: of_queues */
ORDER BY t.priority DESC, t.due_at, t.id LIMIT :limit FOR UPDATE /*!80017 OF t */ SKIP LOCKED

-- name: lock_tasks
SELECT /* include: columns */ FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t ON t.id = i.id
FOR UPDATE /*!80017 OF t */

-- name: lock_keys
SELECT t.active_key, t.id FROM /* include: keys */ STRAIGHT_JOIN litestar_queue_task AS t ON t.active_key = k.`key`
FOR UPDATE /*!80017 OF t */

-- name: write_tasks
UPDATE JSON_TABLE(:batch, '$[*]' COLUMNS (
    id VARCHAR(36) /* include: exact */ PATH '$[0]',
    fence BIGINT PATH '$[1]',
    state VARCHAR(9) /* include: exact */ PATH '$[2]',
    active_key VARCHAR(255) /* include: exact */ PATH '$[3]',
    attempt INTEGER PATH '$[4]',
    due_at VARCHAR(32) PATH '$[5]',
    worker TEXT /* include: exact */ PATH '$[6]',
    progress LONGTEXT /* include: exact */ PATH '$[7]',
    result LONGTEXT /* include: exact */ PATH '$[8]',
    error LONGTEXT /* include: exact */ PATH '$[9]',
    execution_ref TEXT /* include: exact */ PATH '$[10]',
    execution_backend VARCHAR(50) /* include: exact */ PATH '$[11]',
    started_at VARCHAR(32) PATH '$[12]',
    heartbeat_at VARCHAR(32) PATH '$[13]',
    finished_at VARCHAR(32) PATH '$[14]'
)) AS c STRAIGHT_JOIN litestar_queue_task AS t ON t.id = c.id
SET
    t.state = c.state, t.active_key = c.active_key, t.attempt = c.attempt, t.fence = c.fence,
    t.due_at = LEFT(c.due_at, 26), t.worker = c.worker, t.progress = c.progress, t.result = c.result, t.error = c.error,
    t.execution_ref = c.execution_ref, t.execution_backend = c.execution_backend,
    t.started_at = LEFT(c.started_at, 26), t.heartbeat_at = LEFT(c.heartbeat_at, 26),
    t.finished_at = LEFT(c.finished_at, 26)

-- name: delete_tasks
DELETE t FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t ON t.id = i.id

-- name: get
SELECT /* include: columns */ FROM /* include: ids */ STRAIGHT_JOIN litestar_queue_task AS t ON t.id = i.id

-- name: find_stale
SELECT /* include: columns */ FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_ready)
WHERE t.state = 'running' AND (t.heartbeat_at IS NULL OR t.heartbeat_at < CAST(:before AS DATETIME(6)))
ORDER BY t.heartbeat_at, t.id LIMIT :limit

-- name: find_overdue
SELECT /* include: columns */ FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_overdue)
WHERE t.overdue_at <= CAST(:at AS DATETIME(6))
ORDER BY t.overdue_at, t.id LIMIT :limit

-- name: find_finished
SELECT /* include: columns */ FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_finished)
WHERE t.finished_at < CAST(:before AS DATETIME(6))
ORDER BY t.finished_at, t.id LIMIT :limit

-- name: find_matching
SELECT /* include: columns */ FROM litestar_queue_task AS t
WHERE (
    :states IS NULL OR t.state IN (
        SELECT s.name FROM JSON_TABLE(:states, '$[*]' COLUMNS (name VARCHAR(9) /* include: exact */ PATH '$')) AS s
    )
)
AND /* include: of_queues */
AND (
    :names IS NULL OR t.name IN (
        SELECT n.name FROM JSON_TABLE(:names, '$[*]' COLUMNS (name VARCHAR(200) /* include: exact */ PATH '$')) AS n
    )
)
AND (:key IS NULL OR t.`key` = :key)
ORDER BY t.created_at DESC, t.id LIMIT :limit

-- name: count
SELECT t.queue, t.state, count(*) AS tasks FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_queue_ready)
WHERE /* include: of_queues */
GROUP BY t.queue, t.state

-- name: next_due
SELECT t.due_at FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_ready)
WHERE t.state = 'scheduled' AND t.urgency = 0
ORDER BY t.due_at LIMIT 1

-- MySQL sees that the order is the index's only if it names all of its columns; MariaDB 10.11 only if it does not.

-- name: next_due_queues
SELECT min(f.due_at) FROM (
    SELECT (
        SELECT t.due_at FROM litestar_queue_task AS t FORCE INDEX (litestar_queue_task_queue_ready)
        WHERE t.queue = q.name AND t.state = 'scheduled' AND t.urgency = 0
        ORDER BY /*!80017 t.queue, t.state, t.urgency, */ t.due_at LIMIT 1
    ) AS due_at
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
