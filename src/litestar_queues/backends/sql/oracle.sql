-- The statements of the oracle family: Oracle Database 19c or newer, in a database whose character set is AL32UTF8. They
-- have been parsed and looked at, and never been sent to an Oracle: see docs/decisions/0011.
--
-- The table is called litestar_queue_task here; the family puts the configured name in its place, in capitals, as Oracle
-- itself would. A batch travels as one JSON parameter of arrays, which JSON_TABLE unpacks in their order; SQLSpec makes a
-- CLOB of what is longer than 4,000 bytes. An array has every place, so that ERROR ON ERROR, without which a value that is
-- too long would silently become NULL, means errors only. A list that filters keeps the silence: what cannot be, is not
-- there.
--
-- An empty text is NULL to Oracle. So no text is ever sent empty: `values.kept_text` puts a tilde before it, and before one
-- that begins with a tilde, and `values.text_kept` takes it away. The columns are a character longer for that.
--
-- Users' values are CLOBs without IS JSON: SQLSpec decodes a column that has it, and would answer with other values than
-- were stored. Times are TIMESTAMP(6) in UTC; a parameter is the text of a time, and is turned into one by a format that
-- depends on no setting of the session.
--
-- There is no UPDATE ... RETURNING of rows: they are locked and read, and written by a MERGE of the same transaction, which
-- asks for the fence once more. What is changed otherwise in between is told by the number of rows that it merged.
--
-- A row-limiting clause cannot stand beside FOR UPDATE (ORA-02014), and without one all that matches would be locked. So a
-- claim reads candidates in its order, then locks those that nobody else has locked, and goes on behind the last of them
-- where that were too few.
--
-- Hints tell the optimizer that a batch is small. It would assume 8,168 rows, and might read the whole table for them.

-- fragment: now
TO_TIMESTAMP(:now, 'YYYY-MM-DD"T"HH24:MI:SS.FF6')

-- fragment: ids
(SELECT /*+ CARDINALITY(i 10) */ i.item FROM JSON_TABLE(:ids, '$[*]' COLUMNS (item VARCHAR2(37 CHAR) PATH '$')) i)

-- fragment: keys
(SELECT /*+ CARDINALITY(k 10) */ k.item FROM JSON_TABLE(:keys, '$[*]' COLUMNS (item VARCHAR2(256 CHAR) PATH '$')) k)

-- fragment: queues
JSON_TABLE(:queues, '$[*]' COLUMNS (item VARCHAR2(101 CHAR) PATH '$')) q

-- fragment: of_queues
(:queues IS NULL OR t.queue IN (SELECT q.item FROM /* include: queues */))

-- fragment: held
JSON_TABLE(:held, '$[*]' ERROR ON ERROR COLUMNS (/* slot: held_fields */)) h

-- fragment: of_backends
(
    :execution_backends IS NULL OR t.execution_backend IN (
        SELECT e.item
        FROM JSON_TABLE(:execution_backends, '$[*]' COLUMNS (item VARCHAR2(51 CHAR) PATH '$')) e
    )
)

-- fragment: claimable
t.due_at <= /* include: now */
AND (t.expires_at IS NULL OR t.expires_at > /* include: now */)
AND /* include: of_backends */

-- A claim by id takes dispatched tasks, too, unless it is a reservation.

-- fragment: takeable
(t.state IN ('pending', 'scheduled') OR (:dispatched = 1 AND t.state = 'dispatched'))

-- For how many seconds the owner of a task may be silent.

-- fragment: window
COALESCE(CASE WHEN :own = 1 THEN t.stale_after END, TO_BINARY_DOUBLE(:allowed))

-- fragment: silent
(t.heartbeat_at IS NULL OR (
    (:longest IS NULL OR /* include: window */ < TO_BINARY_DOUBLE(:longest))
    AND t.heartbeat_at + NUMTODSINTERVAL(TO_NUMBER(/* include: window */), 'SECOND')
    < TO_TIMESTAMP(:at, 'YYYY-MM-DD"T"HH24:MI:SS.FF6')
))

-- fragment: behind
(
    :last_due IS NULL OR t.urgency > :last_urgency OR (
        t.urgency = :last_urgency AND (
            t.due_at > TO_TIMESTAMP(:last_due, 'YYYY-MM-DD"T"HH24:MI:SS.FF6') OR (
                t.due_at = TO_TIMESTAMP(:last_due, 'YYYY-MM-DD"T"HH24:MI:SS.FF6') AND t.id > :last_id
            )
        )
    )
)

-- fragment: schema
CASE
    WHEN INSTR('litestar_queue_task', '.') > 0
        THEN REPLACE(SUBSTR('litestar_queue_task', 1, INSTR('litestar_queue_task', '.') - 1), '"')
    ELSE SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA')
END

-- fragment: table_name
REPLACE(SUBSTR('litestar_queue_task', INSTR('litestar_queue_task', '.') + 1), '"')

-- name: existing
SELECT o.table_name FROM all_tables o
WHERE o.owner = /* include: schema */
AND o.table_name IN (
    /* include: table_name */,
    REPLACE(SUBSTR('litestar_queue_task_lock', INSTR('litestar_queue_task_lock', '.') + 1), '"'),
    REPLACE(SUBSTR('litestar_queue_task_record', INSTR('litestar_queue_task_record', '.') + 1), '"')
)
UNION ALL
SELECT '.' || o.column_name FROM all_tab_columns o
WHERE o.owner = /* include: schema */ AND o.table_name = /* include: table_name */
UNION ALL
SELECT o.index_name FROM all_indexes o
WHERE o.table_owner = /* include: schema */ AND o.table_name = /* include: table_name */

-- fragment: urgency
urgency NUMBER(11) GENERATED ALWAYS AS (CASE state WHEN 'pending' THEN -priority ELSE 0 END) VIRTUAL

-- fragment: overdue_at
overdue_at TIMESTAMP(6) GENERATED ALWAYS AS (CASE WHEN state IN ('pending', 'scheduled') THEN expires_at END) VIRTUAL

-- fragment: ready_index
CREATE INDEX litestar_queue_task_ready ON litestar_queue_task (state, urgency, due_at, id)

-- fragment: queue_ready_index
CREATE INDEX litestar_queue_task_q_ready ON litestar_queue_task (queue, state, urgency, due_at, id)

-- fragment: overdue_index
CREATE INDEX litestar_queue_task_overdue ON litestar_queue_task (overdue_at, id)

-- The key is unique by the table itself, so that there is no moment without that. NULLs are in no index, and equal to
-- nothing.

-- name: create_task_table
CREATE TABLE litestar_queue_task (
    /* slot: table */,
    /* include: urgency */,
    /* include: overdue_at */
)

-- name: create_ready_index
/* include: ready_index */

-- name: create_queue_ready_index
/* include: queue_ready_index */

-- name: create_overdue_index
/* include: overdue_index */

-- name: create_finished_index
CREATE INDEX litestar_queue_task_finished ON litestar_queue_task (finished_at, id)

-- name: create_lock_table
CREATE TABLE litestar_queue_task_lock (
    name VARCHAR2(256 CHAR) NOT NULL PRIMARY KEY,
    owner VARCHAR2(1000 CHAR) NOT NULL,
    expires_at TIMESTAMP(6) NOT NULL
)

-- name: create_record_table
CREATE TABLE litestar_queue_task_record (
    name VARCHAR2(256 CHAR) NOT NULL PRIMARY KEY,
    version NUMBER(19) NOT NULL,
    value CLOB NOT NULL
)

-- name: add_column
ALTER TABLE litestar_queue_task ADD (/* slot: column */)

-- name: drop_column
ALTER TABLE litestar_queue_task DROP COLUMN /* slot: column_name */

-- fragment: column_of_tasks
all_tab_columns o WHERE o.owner = /* include: schema */ AND o.table_name = /* include: table_name */ AND o.column_name

-- fragment: index_of_tasks
all_indexes o WHERE o.table_owner = /* include: schema */ AND o.table_name = /* include: table_name */ AND o.index_name

-- fragment: check_of_states
all_constraints o WHERE o.owner = /* include: schema */ AND o.table_name = /* include: table_name */
AND o.constraint_type = 'C' AND INSTR(o.search_condition_vc, 'pending') > 0
AND INSTR(o.search_condition_vc, 'dispatched')

-- Oracle changes no column that a virtual one is made of (ORA-54033), and named the check itself. So the virtual columns,
-- and the indexes with them, are made anew: claims fail meanwhile, and are tried again. Each step looks whether it is done
-- already, since Oracle commits each of them.

-- name: widen_states
BEGIN
    FOR narrow IN (SELECT o.column_name FROM /* include: column_of_tasks */ = 'STATE' AND o.char_length < 10) LOOP
        FOR made IN (SELECT o.column_name FROM /* include: column_of_tasks */ IN ('URGENCY', 'OVERDUE_AT')) LOOP
            EXECUTE IMMEDIATE q'[ALTER TABLE litestar_queue_task DROP COLUMN ]' || made.column_name;
        END LOOP;
        EXECUTE IMMEDIATE q'[ALTER TABLE litestar_queue_task MODIFY (state /* slot: state_type */)]';
    END LOOP;
    FOR lacking IN (SELECT 1 AS one FROM dual WHERE NOT EXISTS (
        SELECT 1 FROM /* include: column_of_tasks */ = 'URGENCY'
    )) LOOP
        EXECUTE IMMEDIATE q'[ALTER TABLE litestar_queue_task ADD (/* include: urgency */)]';
    END LOOP;
    FOR lacking IN (SELECT 1 AS one FROM dual WHERE NOT EXISTS (
        SELECT 1 FROM /* include: column_of_tasks */ = 'OVERDUE_AT'
    )) LOOP
        EXECUTE IMMEDIATE q'[ALTER TABLE litestar_queue_task ADD (/* include: overdue_at */)]';
    END LOOP;
    FOR lacking IN (SELECT 1 AS one FROM dual WHERE NOT EXISTS (
        SELECT 1 FROM /* include: index_of_tasks */ = REPLACE('/* slot: bare */', '"') || '_READY'
    )) LOOP
        EXECUTE IMMEDIATE q'[/* include: ready_index */]';
    END LOOP;
    FOR lacking IN (SELECT 1 AS one FROM dual WHERE NOT EXISTS (
        SELECT 1 FROM /* include: index_of_tasks */ = REPLACE('/* slot: bare */', '"') || '_Q_READY'
    )) LOOP
        EXECUTE IMMEDIATE q'[/* include: queue_ready_index */]';
    END LOOP;
    FOR lacking IN (SELECT 1 AS one FROM dual WHERE NOT EXISTS (
        SELECT 1 FROM /* include: index_of_tasks */ = REPLACE('/* slot: bare */', '"') || '_OVERDUE'
    )) LOOP
        EXECUTE IMMEDIATE q'[/* include: overdue_index */]';
    END LOOP;
    FOR older IN (SELECT o.constraint_name FROM /* include: check_of_states */ = 0) LOOP
        EXECUTE IMMEDIATE q'[ALTER TABLE litestar_queue_task DROP CONSTRAINT "]' || older.constraint_name || '"';
    END LOOP;
    FOR lacking IN (SELECT 1 AS one FROM dual WHERE NOT EXISTS (SELECT 1 FROM /* include: check_of_states */ > 0)) LOOP
        EXECUTE IMMEDIATE q'[ALTER TABLE litestar_queue_task ADD CHECK (state IN (/* slot: states */))]';
    END LOOP;
END;

-- The version of the schema is the record of that name; it never falls.

-- name: schema_version
SELECT r.value FROM litestar_queue_task_record r WHERE r.name = 'schema'

-- name: record_version
MERGE INTO litestar_queue_task_record r
USING (SELECT /* slot: version */ AS wanted FROM dual) w ON (r.name = 'schema')
WHEN MATCHED THEN UPDATE SET r.version = r.version + 1, r.value = TO_CHAR(w.wanted)
WHERE TO_NUMBER(TO_CHAR(r.value)) < w.wanted
WHEN NOT MATCHED THEN INSERT (name, version, value) VALUES ('schema', 1, TO_CHAR(w.wanted))

-- name: check_schema
SELECT /* slot: columns */, t.active_key, t.urgency, t.overdue_at FROM litestar_queue_task t WHERE 1 = 0

-- name: version
SELECT v.version FROM product_component_version v WHERE v.product LIKE 'Oracle%' AND ROWNUM = 1

-- What a queue cannot do without; see the family.

-- name: settings
SELECT p.parameter, p.value FROM nls_database_parameters p WHERE p.parameter = 'NLS_CHARACTERSET'
UNION ALL
SELECT p.parameter, p.value FROM nls_session_parameters p WHERE p.parameter IN ('NLS_SORT', 'NLS_COMP')

-- name: now
SELECT CAST(SYS_EXTRACT_UTC(SYSTIMESTAMP) AS TIMESTAMP(6)) FROM dual

-- What another transaction stores meanwhile is ORA-00001, after which all of it is done once more.

-- name: enqueue
INSERT INTO litestar_queue_task (/* slot: new_columns */, created_at)
SELECT /* slot: new_values */, /* include: now */
FROM JSON_TABLE(:batch, '$[*]' ERROR ON ERROR COLUMNS (/* slot: new_fields */)) n
WHERE NOT EXISTS (SELECT /*+ NO_UNNEST */ 1 FROM litestar_queue_task t WHERE t.id = n.id)
AND NOT EXISTS (SELECT /*+ NO_UNNEST */ 1 FROM litestar_queue_task t WHERE t.active_key = n.of_key)

-- name: enqueued
SELECT /* slot: columns */ FROM litestar_queue_task t WHERE t.id IN /* include: ids */
UNION ALL
SELECT /* slot: columns */ FROM litestar_queue_task t WHERE t.active_key IN /* include: keys */

-- A task that another claim is making pending is left to it.

-- name: promote_candidates
SELECT /*+ INDEX(t (/* slot: scheduled_columns */)) */ t.id FROM litestar_queue_task t
WHERE /* slot: scheduled */ AND t.due_at <= /* include: now */
ORDER BY t.due_at, t.id FETCH FIRST :limit ROWS ONLY

-- name: promote_queues_candidates
SELECT s.id
FROM /* include: queues */
CROSS JOIN LATERAL (
    SELECT /*+ INDEX(t (queue /* slot: scheduled_columns */)) */ t.id, t.due_at FROM litestar_queue_task t
    WHERE t.queue = q.item AND /* slot: scheduled */ AND t.due_at <= /* include: now */
    ORDER BY t.due_at, t.id FETCH FIRST :limit ROWS ONLY
) s
ORDER BY s.due_at, s.id FETCH FIRST :limit ROWS ONLY

-- name: lock_scheduled
SELECT t.id FROM litestar_queue_task t WHERE t.id IN /* include: ids */ AND t.state = 'scheduled' FOR UPDATE SKIP LOCKED

-- name: write_promoted
UPDATE litestar_queue_task t SET t.state = 'pending' /* slot: onupdate */ WHERE t.id IN /* include: ids */ AND t.state = 'scheduled'

-- name: claim_candidates
SELECT /*+ INDEX(t (state urgency due_at id)) */ t.id, t.urgency, t.due_at FROM litestar_queue_task t
WHERE t.state = 'pending' AND /* include: claimable */ AND /* include: behind */
ORDER BY t.urgency, t.due_at, t.id FETCH FIRST :limit ROWS ONLY

-- name: claim_queues_candidates
SELECT s.id, s.urgency, s.due_at
FROM /* include: queues */
CROSS JOIN LATERAL (
    SELECT /*+ INDEX(t (queue state urgency due_at id)) */ t.id, t.urgency, t.due_at FROM litestar_queue_task t
    WHERE t.queue = q.item AND t.state = 'pending' AND /* include: claimable */ AND /* include: behind */
    ORDER BY t.urgency, t.due_at, t.id FETCH FIRST :limit ROWS ONLY
) s
ORDER BY s.urgency, s.due_at, s.id FETCH FIRST :limit ROWS ONLY

-- name: claim_held_candidates
SELECT t.id, t.urgency, t.due_at
FROM (
    SELECT
        s.id, s.fence, s.state, s.queue, /* slot: urgency */ AS urgency, s.due_at, s.expires_at, s.execution_backend
    FROM litestar_queue_task s
) t
JOIN /* include: held */ ON t.id = h.id AND t.fence = h.fence
WHERE /* include: takeable */ AND /* include: claimable */ AND /* include: of_queues */
AND /* include: behind */
ORDER BY t.urgency, t.due_at, t.id FETCH FIRST :limit ROWS ONLY

-- Looks once more at what it locks: others may have claimed it since it was a candidate.

-- name: lock_candidates
SELECT /* slot: columns */ FROM litestar_queue_task t
WHERE t.id IN /* include: ids */ AND /* include: takeable */ AND /* include: claimable */
FOR UPDATE SKIP LOCKED

-- name: lock_tasks
SELECT /* slot: columns */ FROM litestar_queue_task t WHERE t.id IN /* include: ids */ ORDER BY t.id FOR UPDATE

-- name: lock_free_tasks
SELECT /* slot: columns */ FROM litestar_queue_task t WHERE t.id IN /* include: ids */ FOR UPDATE SKIP LOCKED

-- name: lock_keys
SELECT t.active_key, t.id FROM litestar_queue_task t WHERE t.active_key IN /* include: keys */ ORDER BY t.id FOR UPDATE

-- name: write_fenced
MERGE INTO litestar_queue_task t
USING (
    SELECT /*+ CARDINALITY(b 10) */ b.*
    FROM JSON_TABLE(:batch, '$[*]' ERROR ON ERROR COLUMNS (/* slot: changed_fields */)) b
) c
ON (t.id = c.id)
WHEN MATCHED THEN UPDATE SET /* slot: changes */ /* slot: onupdate */
WHERE t.fence = c.fence - 1

-- name: write_heartbeats
MERGE INTO litestar_queue_task t
USING (
    SELECT /*+ CARDINALITY(b 10) */ b.*
    FROM JSON_TABLE(:batch, '$[*]' ERROR ON ERROR COLUMNS (/* slot: beat_fields */)) b
) c
ON (t.id = c.id)
WHEN MATCHED THEN UPDATE SET
    t.heartbeat_at = TO_TIMESTAMP(c.heartbeat_at, 'YYYY-MM-DD"T"HH24:MI:SS.FF6'), t.progress = c.progress,
    t.stale_after = TO_BINARY_DOUBLE(c.stale_after) /* slot: onupdate */
WHERE t.fence = c.fence AND t.state IN ('running', 'dispatched')

-- name: delete_tasks
DELETE FROM litestar_queue_task t WHERE t.id IN /* include: ids */

-- name: get
SELECT /* slot: columns */ FROM litestar_queue_task t WHERE t.id IN /* include: ids */

-- name: find_stale
SELECT /* slot: columns */ FROM litestar_queue_task t
WHERE t.state = 'running'
AND /* include: silent */
ORDER BY t.heartbeat_at NULLS FIRST, t.id FETCH FIRST :limit ROWS ONLY

-- name: find_dispatched
SELECT /* slot: columns */ FROM litestar_queue_task t
WHERE t.state = 'dispatched' AND /* include: of_backends */
AND (
    t.heartbeat_at IS NULL OR t.stale_after IS NULL
    OR t.heartbeat_at + NUMTODSINTERVAL(TO_NUMBER(t.stale_after), 'SECOND')
    < TO_TIMESTAMP(:at, 'YYYY-MM-DD"T"HH24:MI:SS.FF6')
)
ORDER BY t.heartbeat_at NULLS FIRST, t.id FETCH FIRST :limit ROWS ONLY

-- Dispatched tasks are few, and found by their state: `overdue_at` has nothing of them, as older workers know it.

-- name: find_overdue
SELECT /* slot: columns */ FROM (
    SELECT w.* FROM (
        SELECT t.* FROM litestar_queue_task t
        WHERE t.state IN ('pending', 'scheduled') AND t.overdue_at <= TO_TIMESTAMP(:at, 'YYYY-MM-DD"T"HH24:MI:SS.FF6')
        ORDER BY t.overdue_at, t.id FETCH FIRST :limit ROWS ONLY
    ) w
    UNION ALL
    SELECT d.* FROM (
        SELECT t.* FROM litestar_queue_task t
        WHERE t.state = 'dispatched' AND t.expires_at <= TO_TIMESTAMP(:at, 'YYYY-MM-DD"T"HH24:MI:SS.FF6')
        ORDER BY t.expires_at, t.id FETCH FIRST :limit ROWS ONLY
    ) d
) t
ORDER BY t.expires_at, t.id FETCH FIRST :limit ROWS ONLY

-- name: find_finished
SELECT /* slot: columns */ FROM litestar_queue_task t
WHERE t.finished_at >= TO_TIMESTAMP(:since, 'YYYY-MM-DD"T"HH24:MI:SS.FF6')
AND t.finished_at < TO_TIMESTAMP(:before, 'YYYY-MM-DD"T"HH24:MI:SS.FF6')
ORDER BY t.finished_at, t.id FETCH FIRST :limit ROWS ONLY

-- name: find_matching
SELECT /* slot: columns */ FROM litestar_queue_task t
WHERE (
    :states IS NULL OR t.state IN (
        SELECT s.item FROM JSON_TABLE(:states, '$[*]' COLUMNS (item VARCHAR2(10 CHAR) PATH '$')) s
    )
)
AND /* include: of_queues */
AND (
    :names IS NULL OR t.name IN (
        SELECT n.item FROM JSON_TABLE(:names, '$[*]' COLUMNS (item VARCHAR2(201 CHAR) PATH '$')) n
    )
)
AND (:key IS NULL OR t.key = :key)
ORDER BY t.created_at DESC, t.id FETCH FIRST :limit ROWS ONLY

-- name: count
SELECT t.queue, t.state, COUNT(*) AS tasks FROM litestar_queue_task t
WHERE /* include: of_queues */
GROUP BY t.queue, t.state

-- name: next_due
SELECT MIN(t.due_at) FROM litestar_queue_task t WHERE /* slot: scheduled */

-- name: next_due_queues
SELECT MIN(f.due_at)
FROM /* include: queues */
CROSS JOIN LATERAL (
    SELECT MIN(t.due_at) AS due_at FROM litestar_queue_task t
    WHERE t.queue = q.item AND /* slot: scheduled */
) f

-- name: lock_read
SELECT l.owner, l.expires_at FROM litestar_queue_task_lock l WHERE l.name = :name FOR UPDATE

-- Decides once more: where there was no row to lock, another may have inserted one meanwhile.

-- name: lock_write
MERGE INTO litestar_queue_task_lock l
USING (
    SELECT
        :name AS name, :owner AS owner, TO_TIMESTAMP(:expires_at, 'YYYY-MM-DD"T"HH24:MI:SS.FF6') AS expires_at
    FROM dual
) n
ON (l.name = n.name)
WHEN MATCHED THEN UPDATE SET l.owner = n.owner, l.expires_at = n.expires_at
WHERE l.owner = n.owner OR l.expires_at <= /* include: now */
WHEN NOT MATCHED THEN INSERT (name, owner, expires_at) VALUES (n.name, n.owner, n.expires_at)

-- name: unlock
DELETE FROM litestar_queue_task_lock l WHERE l.name = :name AND l.owner = :owner

-- name: read_named
SELECT r.name, r.version, r.value FROM litestar_queue_task_record r
WHERE :prefix IS NULL OR SUBSTR(r.name, 1, LENGTH(:prefix)) = :prefix

-- name: insert_named
INSERT INTO litestar_queue_task_record (name, version, value)
SELECT :name, 1, :value FROM dual
WHERE NOT EXISTS (SELECT 1 FROM litestar_queue_task_record r WHERE r.name = :name)

-- name: update_named
UPDATE litestar_queue_task_record SET version = version + 1, value = :value
WHERE name = :name AND version = :seen
