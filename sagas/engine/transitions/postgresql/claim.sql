-- An attempt begins: ready → running, with its event. claiming.claim_ready() is the specification.
-- $1 step · $2 fence · $3 task id · $4 worker · $5 lease
--
-- As in succeed.sql, each table is asked by its primary key alone, whatever the plan was made for.
WITH run AS MATERIALIZED (
    SELECT *
    FROM sagas_sagarun
    WHERE id = (SELECT run_id FROM sagas_steprun WHERE id = $1::uuid)
),
claimed AS (
    UPDATE sagas_steprun AS step
    SET state = 'running',
        fence = step.fence + 1,
        attempt = step.attempt + 1,
        -- From the moment of writing, not from before a wait for the row.
        lease_until = CLOCK_TIMESTAMP() + $5::interval,
        started_at = CLOCK_TIMESTAMP(),
        updated_at = STATEMENT_TIMESTAMP(),
        ended_at = NULL,
        expires_at = COALESCE(step.expires_at, CLOCK_TIMESTAMP() + step.timeout),
        task_id = $3::text,
        worker = $4::text
    FROM run
    WHERE step.id = $1::uuid
      AND step.state IS NOT DISTINCT FROM 'ready'
      AND step.fence = $2::int
      AND step.due_at <= STATEMENT_TIMESTAMP()
      AND run.id = step.run_id
      AND CASE
              WHEN step.direction = 'backward' THEN run.state = 'compensating'
              WHEN step.reconcile_attempts IS NOT NULL AND run.state = 'compensating' THEN true
              WHEN step.detached AND run.state = 'completed' THEN true
              ELSE run.state = 'running'
          END
      AND run.paused_at IS NULL
    RETURNING {step_columns}, {run_columns}
),
told AS (
    INSERT INTO sagas_sagaevent
        (run_id, step_id, type, from_state, to_state, attempt, actor, note, at)
    SELECT step_run_id, step_id, 'step_claimed', 'ready', 'running', step_attempt, '', $4::text,
           STATEMENT_TIMESTAMP()
    FROM claimed
)
SELECT claimed.*, pg_backend_pid() FROM claimed
