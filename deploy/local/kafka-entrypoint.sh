#!/bin/sh
# KAFKA_LOG_DIRS is the setting log.dirs, and so on, as in the image `apache/kafka`; formats its storage once.
set -eu
config=/tmp/server.properties
env | grep '^KAFKA_' | grep -v '^KAFKA_HEAP_OPTS=' | while IFS='=' read -r name value; do
  printf '%s=%s\n' "$(printf '%s' "${name#KAFKA_}" | tr 'A-Z_' 'a-z.')" "$value"
done >"$config"

kafka() {
  # shellcheck disable=SC2086  several options
  exec java ${KAFKA_HEAP_OPTS:--Xmx512m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    --sun-misc-unsafe-memory-access=allow --enable-native-access=ALL-UNNAMED \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*' "$@"
}

(kafka kafka.tools.StorageTool format --ignore-formatted -t "${CLUSTER_ID:-Y2FydHN0cmVhbS1zb21ldGhpbmc}" -c "$config")
kafka kafka.Kafka "$config"
