# Debian's Prometheus, with the volume and the arguments of the image `prom/prometheus`.
FROM cartstream-local/servers
RUN install --directory --owner=65534 --group=65534 /prometheus
USER 65534:65534
VOLUME /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
