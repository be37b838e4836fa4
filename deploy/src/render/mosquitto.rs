//! The broker's configuration.

use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT};
use site::manifest::{ACL_PATH, PASSWD_PATH};

/// Connections are allowed in steps, far above what a fleet needs: a setting that changed with
/// each meter would restart the broker for each, and drop all the others.
const CONNECTIONS_STEP: usize = 4000;
/// Readers, strangers in the middle of a handshake.
const SPARE_CONNECTIONS: usize = 200;

/// Messages on their way to one client before the first is acknowledged. The bastion's daemon asks
/// for as many.
pub(super) const WINDOW: u16 = 1000;

/// Everything is said, nothing is left to a default: defaults differ between versions.
pub(super) fn configuration(meters: usize) -> String {
    // A meter may come back before the broker noticed that it had gone.
    let needed = meters * 2 + SPARE_CONNECTIONS;
    let connections = needed.div_ceil(CONNECTIONS_STEP) * CONNECTIONS_STEP;
    format!(
        "\
# Written by shelly-bastion; changes made here are lost.
per_listener_settings false
allow_anonymous false
password_file {PASSWD_PATH}
acl_file {ACL_PATH}

# Nothing on disk: no card wear, no damaged file that stops the broker, and no old messages
# brought back under packet ids that new messages use again.
persistence false

# Meters publish at QoS 0; a reader's QoS 1 subscription outlives its restart only with this.
upgrade_outgoing_qos true
persistent_client_expiration 14d
# Per client. When a reader is away, its messages wait here, in memory, until one limit is met.
max_inflight_messages {WINDOW}
max_queued_messages 200000
max_queued_bytes 67108864
queue_qos0_messages false

# What meters send is below 4 KiB; a reader's pages are below 256 KiB.
max_packet_size 262144
max_keepalive 600
# Later meters announce their end with a retained message.
retain_available true

log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages true
log_timestamp_format %Y-%m-%dT%H:%M:%S

# The outside: meters and readers.
listener {MQTT_PORT}
max_connections {connections}
max_qos 1
# The account's name is the client id, so that a stranger cannot take over a session.
use_username_as_clientid true

# The bastion's own programs, so that a full public listener never shuts them out.
listener {MQTT_LOOPBACK_PORT} 127.0.0.1
max_connections 20
max_qos 1
use_username_as_clientid true
"
    )
}
