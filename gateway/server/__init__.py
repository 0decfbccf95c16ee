"""The server: the supervisor, its workers, how one serves and drains."""
