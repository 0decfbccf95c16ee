-- Mails to send, by name.

-- record_tasks
-- A task that was refused is taken up again when its record is published anew: somebody has replayed it.
INSERT INTO post_checkout_tasks AS known (order_id, task, record, source_partition, source_offset)
SELECT order_id, task, record, source_partition, source_offset
FROM unnest(
    %(order_id)s::text[], %(task)s::text[], %(record)s::text[], %(source_partition)s::integer[],
    %(source_offset)s::bigint[]
) AS new (order_id, task, record, source_partition, source_offset)
ORDER BY order_id, task
ON CONFLICT (order_id, task) DO UPDATE SET
    record = excluded.record, source_offset = excluded.source_offset, created_at = now(), attempts = 0,
    begun_at = NULL, due_at = now(), done_at = NULL, outcome = NULL, detail = NULL
WHERE known.outcome = 'refused' AND excluded.source_offset > known.source_offset

-- claim_task
-- Claiming is scheduling the next attempt: whoever claims and dies leaves a task that is due again.
-- A cancellation waits for the confirmation, or it would be read first.
WITH due AS (
    SELECT order_id, task
    FROM post_checkout_tasks AS waiting
    WHERE done_at IS NULL
      AND due_at <= now()
      AND task = ANY(%(tasks)s)
      AND (
          task <> 'cancellation_mail'
          OR NOT EXISTS (
              SELECT FROM post_checkout_tasks AS first
              WHERE first.order_id = waiting.order_id
                AND first.task = 'confirmation_mail'
                AND first.done_at IS NULL
          )
      )
    ORDER BY due_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE post_checkout_tasks AS claimed
SET attempts = claimed.attempts + 1,
    begun_at = now(),
    due_at = now() + make_interval(
        secs => least(%(longest_s)s::float8, %(retry_s)s::float8 * 2 ^ least(claimed.attempts, 20))
    )
FROM due
WHERE claimed.order_id = due.order_id AND claimed.task = due.task
RETURNING claimed.order_id, claimed.task, claimed.record, claimed.source_partition, claimed.source_offset,
    claimed.attempts, extract(epoch FROM now() - claimed.created_at)::float8

-- is_any_due
SELECT EXISTS (
    SELECT FROM post_checkout_tasks WHERE done_at IS NULL AND due_at <= now() AND task = ANY(%(tasks)s)
)

-- note_failure
UPDATE post_checkout_tasks SET detail = %(detail)s
WHERE order_id = %(order_id)s AND task = %(task)s AND done_at IS NULL

-- settle_task
UPDATE post_checkout_tasks SET done_at = now(), outcome = %(outcome)s, detail = %(detail)s, record = NULL
WHERE order_id = %(order_id)s AND task = %(task)s AND done_at IS NULL

-- count_order_mail
-- No row: the address has had as many today as it may.
INSERT INTO order_mails_a_day AS known (address_hash, day, mails)
VALUES (%(address_hash)s, (now() AT TIME ZONE 'UTC')::date, 1)
ON CONFLICT (address_hash) DO UPDATE
SET day = excluded.day, mails = CASE known.day WHEN excluded.day THEN known.mails + 1 ELSE 1 END
WHERE known.day <> excluded.day OR known.mails < %(mails_per_day)s
RETURNING mails

-- forget_order_mail_days
DELETE FROM order_mails_a_day WHERE day < (now() AT TIME ZONE 'UTC')::date

-- measure_tasks
SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8
FROM post_checkout_tasks
WHERE done_at IS NULL AND task = ANY(%(tasks)s)
