-- Living attempts keep their steps. attempt.renew_lease() is the specification of one.
-- $1 steps · $2 their fences · $3 lease
--
-- A row that somebody has locked is passed over: nobody else's lease waits for it, and while it is
-- locked nobody can give the attempt up.
UPDATE sagas_steprun AS step
SET lease_until = STATEMENT_TIMESTAMP() + $3::interval
FROM (
    SELECT held.id
    FROM sagas_steprun AS held
    JOIN unnest($1::uuid[], $2::int[]) AS mine (id, fence) USING (id, fence)
    WHERE held.state = 'running'
    FOR NO KEY UPDATE OF held SKIP LOCKED
) AS held
WHERE step.id = held.id
RETURNING step.id, step.fence
