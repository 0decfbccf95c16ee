-- How many mails about orders an address gets in a day: whoever places orders in its name cannot flood it.

CREATE TABLE order_mails_a_day (
    -- SHA-256 of the mail address, as in mails_a_day.
    address_hash bytea PRIMARY KEY,
    -- In UTC; the mail sink deletes older ones.
    day          date NOT NULL,
    mails        integer NOT NULL
);
