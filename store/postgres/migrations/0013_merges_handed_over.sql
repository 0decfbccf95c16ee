-- When a record about a merge was written for the merge agent; NULL once the agent is done with it. Until then a
-- second record would only wait behind the first.

ALTER TABLE merges ADD COLUMN handed_over_at timestamptz;
