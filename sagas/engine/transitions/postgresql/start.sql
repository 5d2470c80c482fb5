-- Runs come into being with their steps and first events, where their label and key are free.
-- insert.insert_runs() is the specification.
-- $1 runs, as a JSON list of what each has of its own · $2 their plan, as a JSON object
-- $3 grace of a first message
WITH plan AS (
    SELECT * FROM jsonb_to_record($2::jsonb) AS plan (
        label text, version int, remaining int, options jsonb, timeout interval, steps jsonb
    )
),
own AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS run (
        id uuid, key text, input jsonb, tags jsonb, parent_step uuid, steps uuid[]
    )
),
made AS (
    INSERT INTO sagas_sagarun
        (id, label, version, key, state, outcome_when_undone, remaining, pivot_passed, has_warnings, input,
         tags, options, failed_step, error_code, error, compensation_error, deadline, retry_count,
         auto_retry_count, poisoned, fingerprint, parent_step_id, owes_parent, created_at, updated_at)
    SELECT id, label, version, key, 'running', '', remaining, false, false, input,
           tags, options, '', '', '', '', STATEMENT_TIMESTAMP() + timeout, 0,
           0, false, '', parent_step, false, STATEMENT_TIMESTAMP(), STATEMENT_TIMESTAMP()
    FROM own, plan
    ON CONFLICT (label, key) DO NOTHING
    RETURNING id, deadline, created_at
),
planned AS (
    SELECT own.id AS run_id, own.steps[step.position + 1] AS id, step.*,
           (SELECT coalesce(jsonb_agg(own.steps[place + 1] ORDER BY nth), '[]')
            FROM unnest(step.successors) WITH ORDINALITY AS following (place, nth)) AS followers
    FROM made
    JOIN own ON own.id = made.id
    CROSS JOIN plan
    CROSS JOIN jsonb_to_recordset(plan.steps) AS step (
        position int, name text, handler text, compensation text, pending_predecessors int, successors int[],
        in_place boolean, pivot boolean, critical boolean, detached boolean, options jsonb,
        input jsonb, timeout interval
    )
),
stepped AS (
    INSERT INTO sagas_steprun
        (id, run_id, name, direction, position, handler, compensation, state, pending_predecessors, successors,
         in_place, pivot, critical, options, input, fence, attempt, in_doubt, detached,
         due_at, send_at, sent_at, sends, timeout, task_id, worker, idempotency_key, error_code, error,
         created_at, updated_at)
    SELECT id, run_id, name, 'forward', position, handler, compensation,
           CASE pending_predecessors WHEN 0 THEN 'ready' ELSE 'pending' END, pending_predecessors, followers,
           in_place, pivot, critical, options, input, 0, 0, false, detached,
           CASE pending_predecessors WHEN 0 THEN STATEMENT_TIMESTAMP() END,
           CASE pending_predecessors WHEN 0 THEN STATEMENT_TIMESTAMP() + $3::interval END,
           CASE pending_predecessors WHEN 0 THEN STATEMENT_TIMESTAMP() END,
           CASE pending_predecessors WHEN 0 THEN 1 ELSE 0 END,
           timeout, '', '', run_id || ':' || name, '', '',
           STATEMENT_TIMESTAMP(), STATEMENT_TIMESTAMP()
    FROM planned
),
told AS (
    INSERT INTO sagas_sagaevent
        (run_id, step_id, type, from_state, to_state, attempt, actor, note, at)
    SELECT event.run_id, event.step_id, event.type, event.from_state, event.to_state, 0, '', '',
           STATEMENT_TIMESTAMP()
    FROM (
        SELECT id AS run_id, NULL::uuid AS step_id, 'started' AS type, '' AS from_state,
               'running' AS to_state, -1 AS position
        FROM made
        UNION ALL
        SELECT run_id, id, 'step_ready', 'pending', 'ready', position
        FROM planned
        WHERE pending_predecessors = 0
    ) AS event
    ORDER BY event.run_id, event.position
)
SELECT id, deadline, created_at, pg_backend_pid() FROM made
