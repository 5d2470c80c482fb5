-- A step succeeded: its outcome, what follows from it, the run's counters and the events.
-- advance.record_outcome() is the specification; it takes over when this finds no row, because the
-- attempt was given up, its run does not simply go its way, or the last compensation ended.
-- A step has one successor here, or none.
-- $1 run · $2 step · $3 fence · $4 output · $5 grace of a message
-- and when the worker goes on in place, else NULL: $6 task id · $7 worker · $8 lease
--
-- The plan is kept, so it must not depend on what the tables hold on the day when it is made. Rows are
-- found by their primary key; IS NOT DISTINCT FROM keeps a state from being looked up in a partial
-- index, which was small that day; and no join filters by a column of the table that it looks up,
-- because then reading a small table whole is thought to be cheaper.
WITH run AS MATERIALIZED (
    -- The lock comes first. What changed while this waited for it is evaluated again in each UPDATE.
    SELECT id, state, paused_at FROM sagas_sagarun WHERE id = $1::uuid FOR NO KEY UPDATE
),
ended AS (
    UPDATE sagas_steprun AS step
    SET state = 'succeeded',
        output = $4::jsonb,
        error_code = '',
        error = '',
        in_doubt = false,
        reconcile_attempts = NULL,
        lease_until = NULL,
        ended_at = STATEMENT_TIMESTAMP(),
        updated_at = STATEMENT_TIMESTAMP()
    FROM run
    WHERE run.state = CASE step.direction WHEN 'forward' THEN 'running' ELSE 'compensating' END
      AND run.paused_at IS NULL
      AND step.id = $2::uuid
      AND step.run_id = run.id
      AND step.state IS NOT DISTINCT FROM 'running'
      AND step.fence = $3::int
      AND (step.direction = 'forward' OR step.successors ->> 0 IS NOT NULL)
    RETURNING step.id, step.run_id, step.name, step.direction, step.attempt, step.pivot,
              (step.successors ->> 0)::uuid AS following,
              step.in_place AND $6::text IS NOT NULL AS takes
),
undone AS (
    UPDATE sagas_steprun AS step
    SET state = 'compensated', updated_at = STATEMENT_TIMESTAMP()
    WHERE step.id = (
            SELECT forward.id
            FROM ended
            JOIN sagas_steprun AS forward USING (run_id, name)
            WHERE ended.direction = 'backward' AND forward.direction = 'forward'
        )
      AND step.state IN ({may_have_happened})
    RETURNING step.id, step.attempt,
              CASE WHEN step.in_doubt THEN 'unknown' ELSE 'succeeded' END AS from_state
),
released AS (
    UPDATE sagas_steprun AS step
    SET pending_predecessors = step.pending_predecessors - 1,
        updated_at = STATEMENT_TIMESTAMP(),
        state = CASE
            WHEN NOT ({opens}) THEN step.state
            WHEN ended.takes THEN 'running'
            ELSE 'ready'
        END,
        due_at = CASE WHEN {opens} THEN STATEMENT_TIMESTAMP() ELSE step.due_at END,
        send_at = CASE
            WHEN {opens} THEN STATEMENT_TIMESTAMP() + $5::interval ELSE step.send_at
        END,
        sent_at = CASE WHEN {opens} THEN STATEMENT_TIMESTAMP() ELSE step.sent_at END,
        sends = CASE WHEN {opens} THEN 1 ELSE step.sends END,
        -- As in a claim, where the worker takes it at once.
        fence = step.fence + ({opens} AND ended.takes)::int,
        attempt = step.attempt + ({opens} AND ended.takes)::int,
        lease_until = CASE
            WHEN {opens} AND ended.takes THEN CLOCK_TIMESTAMP() + $8::interval
            ELSE step.lease_until
        END,
        started_at = CASE
            WHEN {opens} AND ended.takes THEN CLOCK_TIMESTAMP() ELSE step.started_at
        END,
        ended_at = CASE WHEN NOT ({opens} AND ended.takes) THEN step.ended_at END,
        expires_at = CASE
            WHEN {opens} AND ended.takes
            THEN COALESCE(step.expires_at, CLOCK_TIMESTAMP() + step.timeout)
            ELSE step.expires_at
        END,
        task_id = CASE WHEN {opens} AND ended.takes THEN $6::text ELSE step.task_id END,
        worker = CASE WHEN {opens} AND ended.takes THEN $7::text ELSE step.worker END
    FROM ended
    WHERE step.id = ended.following
    RETURNING step.pending_predecessors = 0 AND step.state IN ({attempted}) AS goes_on, {step_columns}
),
counted AS (
    UPDATE sagas_sagarun AS run
    SET remaining = run.remaining - (ended.following IS NULL)::int,
        pivot_passed = run.pivot_passed OR ended.pivot,
        state = CASE
            WHEN ended.following IS NULL AND run.remaining = 1 THEN 'completed' ELSE run.state
        END,
        owes_parent = run.owes_parent OR (
            ended.following IS NULL AND run.remaining = 1 AND run.parent_step_id IS NOT NULL
        ),
        completed_at = CASE
            WHEN ended.following IS NULL AND run.remaining = 1 THEN STATEMENT_TIMESTAMP()
        END,
        updated_at = STATEMENT_TIMESTAMP()
    FROM ended
    WHERE run.id = ended.run_id AND (ended.following IS NULL OR ended.pivot)
    RETURNING run.state
),
told AS (
    INSERT INTO sagas_sagaevent
        (run_id, step_id, type, from_state, to_state, attempt, actor, note, at)
    SELECT $1::uuid, event.step_id, event.type, event.from_state, event.to_state, event.attempt,
           '', event.note, STATEMENT_TIMESTAMP()
    FROM (
        SELECT 0 AS place, id AS step_id, 'step_succeeded' AS type,
               'running' AS from_state, 'succeeded' AS to_state, attempt, '' AS note
        FROM ended
        UNION ALL
        SELECT 1, id, 'step_compensated', from_state, 'compensated', attempt, ''
        FROM undone
        UNION ALL
        SELECT 2, step_id, CASE step_state WHEN 'running' THEN 'step_claimed' ELSE 'step_ready' END,
               'pending', step_state, step_attempt,
               CASE step_state WHEN 'running' THEN $7::text ELSE '' END
        FROM released
        WHERE goes_on
        UNION ALL
        SELECT 3, NULL, 'completed', 'running', 'completed', 0, ''
        FROM counted
        WHERE state = 'completed'
    ) AS event
    ORDER BY event.place
)
SELECT counted.state AS run_state, undone.from_state, released.*, pg_backend_pid()
FROM ended
LEFT JOIN undone ON true
LEFT JOIN counted ON true
LEFT JOIN released ON released.goes_on
