"""The named SQL of queries.sql."""

from typing import Final

from store.queries import queries_of

query: Final = queries_of(__package__)
