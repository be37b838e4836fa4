# The database of the lab: Debian's InfluxDB 1.6.7 and its client, over HTTP on port 8086,
# without authentication, reporting to nobody. iproute2 is for the route to the lab's router, nftables for seeing what arrives.
ARG BASE
FROM ${BASE}

RUN printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d \
 && chmod 755 /usr/sbin/policy-rc.d

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        curl influxdb influxdb-client iproute2 nftables \
 && rm -rf /var/lib/apt/lists/*

# Settings over those of /etc/influxdb/influxdb.conf. One log line per written batch helps nobody.
ENV INFLUXDB_REPORTING_DISABLED=true \
    INFLUXDB_BIND_ADDRESS=127.0.0.1:8088 \
    INFLUXDB_HTTP_ENABLED=true \
    INFLUXDB_HTTP_BIND_ADDRESS=:8086 \
    INFLUXDB_HTTP_AUTH_ENABLED=false \
    INFLUXDB_HTTP_LOG_ENABLED=false \
    INFLUXDB_META_DIR=/var/lib/influxdb/meta \
    INFLUXDB_DATA_DIR=/var/lib/influxdb/data \
    INFLUXDB_DATA_WAL_DIR=/var/lib/influxdb/wal \
    INFLUXDB_MONITOR_STORE_ENABLED=false

EXPOSE 8086
CMD ["influxd", "-config", "/etc/influxdb/influxdb.conf"]
