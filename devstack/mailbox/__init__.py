"""The mailbox of the embedded stack: an SMTP server on loopback that keeps every mail, and a page to read."""
