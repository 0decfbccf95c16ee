-- How many mails about carts left behind an address gets in a day: whoever fills carts in its name cannot flood it.

CREATE TABLE mails_a_day (
    -- SHA-256 of the mail address, as in mail_suppressions.
    address_hash bytea PRIMARY KEY,
    -- In UTC; the job abandonment deletes older ones.
    day          date NOT NULL,
    mails        integer NOT NULL
);
