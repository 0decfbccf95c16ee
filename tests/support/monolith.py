"""A monolith whose database the product shares: it has tables of the same names in `public`."""

from contextlib import closing
from typing import Final

import psycopg

SCHEMA: Final = "cartstream"
"""Where the product's tables are beside it."""
_TABLES: Final = """
CREATE TABLE public.carts (id serial PRIMARY KEY, user_id bigint, total numeric);
CREATE TABLE public.products (id serial PRIMARY KEY, sku text, price numeric);
CREATE TABLE public.orders (id serial PRIMARY KEY, cart_id int REFERENCES public.carts, state text);
CREATE TABLE public.schema_migrations (version text PRIMARY KEY);
INSERT INTO public.carts (user_id, total) VALUES (1, 12.50), (2, 3);
INSERT INTO public.products (sku, price) VALUES ('mug', 12.50);
INSERT INTO public.orders (cart_id, state) VALUES (1, 'paid');
INSERT INTO public.schema_migrations VALUES ('20200101000000');
"""
OBJECTS: Final = """
SELECT 'relation', relname FROM pg_class WHERE relnamespace = %(schema)s::regnamespace
UNION ALL SELECT 'function', proname FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace
UNION ALL SELECT 'type', typname FROM pg_type WHERE typnamespace = %(schema)s::regnamespace
ORDER BY 1, 2
"""
"""The names of all that is in a schema."""
_ROWS: Final = """
SELECT carts::text FROM public.carts UNION ALL SELECT products::text FROM public.products
UNION ALL SELECT orders::text FROM public.orders
UNION ALL SELECT schema_migrations::text FROM public.schema_migrations ORDER BY 1
"""


class Monolith:
    """The monolith's tables, made in an empty database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.execute(_TABLES)
        self._before = self._seen()

    def execute(self, statement: str) -> None:
        """As the owner of the database."""
        with closing(psycopg.connect(self._url, autocommit=True)) as connection:
            connection.execute(statement.encode())

    def is_of_superuser(self) -> bool:
        """Whether its owner may do everything."""
        with closing(psycopg.connect(self._url)) as connection:
            return connection.execute("SHOW is_superuser").fetchone() == ("on",)

    def is_untouched(self) -> bool:
        """Whether `public` has the objects and rows that it had."""
        return self._seen() == self._before

    def _seen(self) -> list[tuple[object, ...]]:
        with closing(psycopg.connect(self._url, autocommit=True)) as connection:
            objects = connection.execute(OBJECTS, {"schema": "public"}).fetchall()
            return [*objects, *connection.execute(_ROWS).fetchall()]
