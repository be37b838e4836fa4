//! Accounts: who may log in to the broker, and what each may read and write there.
//!
//! An account's name is also its forced client id, so a stranger cannot take over a session.
//! Passwords are left to `deploy`.

use crate::daemon::{
    DAEMON_ACCOUNT, FETCH_FILTER, HEAD_TOPIC, Listened, TICK_TOPIC, TICKER_ACCOUNT, fetch_topic,
    page_topic,
};
use crate::description::Site;
use crate::meter::{Generation, Meter};

/// The account with which the bastion asks its own broker whether it works.
pub const HEALTH_ACCOUNT: &str = "health";
/// The topic below which the health account may write and read.
pub const HEALTH_TOPIC: &str = "bastion/v1/health";
/// Where the health account tells readers that the bastion's verdict on itself changed: an
/// [`crate::answer::Verified`] as JSON.
pub const VERDICT_TOPIC: &str = "bastion/v1/verdict";

/// What a rule of an account allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Hearing messages.
    Read,
    /// Sending messages.
    Write,
}

/// One thing that an account may do. There are no wildcards for the account's own name:
/// a second account of the same meter needs the same rules under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// Hear or send.
    pub access: Access,
    /// An MQTT topic filter.
    pub topic: String,
}

/// Who an account belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A meter.
    Meter,
    /// A reading program.
    Reader,
    /// The bastion's own health check.
    Health,
    /// The bastion's daemon, which journals what meters say and serves readers.
    Daemon,
    /// The bastion's ticker.
    Ticker,
}

/// One account and everything it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User name and forced client id.
    pub name: String,
    /// Who it belongs to.
    pub role: Role,
    /// All else is refused.
    pub permissions: Vec<Permission>,
}

/// What a first-generation meter says below its prefix.
///
/// The list is written out, and not `#`, because the same tree holds the meter's command topics
/// (`command`, `relay/0/command`, …): who has a meter's password must not switch its relay.
/// Source: the vendor's MQTT documentation and captures.
const GEN1_SAID: &[&str] = &[
    "online",
    "announce",
    "info",
    "emeter/+/power",
    "emeter/+/reactive_power",
    "emeter/+/voltage",
    "emeter/+/current",
    "emeter/+/pf",
    "emeter/+/total",
    "emeter/+/total_returned",
    "emeter/+/energy",
    "emeter/+/returned_energy",
    "emeter_n/+",
    "relay/+",
    "relay/+/power",
    "relay/+/energy",
    "relay/+/overpower_value",
    "relay/power",
    "relay/energy",
    "roller/+",
    "roller/+/power",
    "roller/+/energy",
    "roller/+/pos",
    "roller/+/stop_reason",
    "light/+",
    "light/+/power",
    "light/+/energy",
    "light/+/status",
    "input/+",
    "input_event/+",
    "longpush/+",
    "temperature",
    "temperature_f",
    "temperature_status",
    "overtemperature",
    "voltage",
    "ext_temperature/+",
    "ext_temperature_f/+",
    "ext_humidity/+",
];

/// What a first-generation meter hears below its prefix.
const GEN1_HEARD: &[&str] = &[
    "command",
    "relay/+/command",
    "emeter/+/command",
    "roller/+/command",
    "light/+/command",
];

/// What later generations say and hear below their prefix.
const GEN2_SAID: &[&str] = &[
    "online",
    "announce",
    "status/#",
    "events/rpc",
    "error/#",
    "debug/#",
];
const GEN2_HEARD: &[&str] = &["rpc", "command", "command/#"];

impl Account {
    /// Every account of a site: meters in the file's order, readers, and the bastion's own programs.
    #[must_use]
    pub fn all(site: &Site) -> Vec<Account> {
        let meters = site.meters.iter().map(meter);
        let readers = site.readers.iter().map(|reader| Account {
            name: reader.name.clone(),
            role: Role::Reader,
            permissions: site
                .meters
                .iter()
                .map(|meter| format!("{}/#", meter.prefix))
                .chain(["shellies/announce".to_owned()])
                .chain([HEAD_TOPIC.to_owned(), page_topic(&reader.name)])
                .chain([VERDICT_TOPIC.to_owned()])
                .map(read)
                .chain([write(fetch_topic(&reader.name))])
                .collect(),
        });
        let health = Account {
            name: HEALTH_ACCOUNT.to_owned(),
            role: Role::Health,
            permissions: vec![
                read(HEALTH_TOPIC.to_owned()),
                write(HEALTH_TOPIC.to_owned()),
                write(VERDICT_TOPIC.to_owned()),
            ],
        };
        let own = [health, daemon(site), ticker()];
        meters.chain(readers).chain(own).collect()
    }
}

fn read(topic: String) -> Permission {
    Permission {
        access: Access::Read,
        topic,
    }
}

fn write(topic: String) -> Permission {
    Permission {
        access: Access::Write,
        topic,
    }
}

/// It hears every meter and answers every reader. Of meters it asks only what their models need.
fn daemon(site: &Site) -> Account {
    let meters = site
        .meters
        .iter()
        .map(|meter| format!("{}/#", meter.prefix));
    let heard = meters.chain([TICK_TOPIC.to_owned(), FETCH_FILTER.to_owned()]);
    let asked = site
        .meters
        .iter()
        .filter(|meter| Listened::of(meter).ask.is_some());
    let said = asked
        .map(|meter| format!("{}/command", meter.prefix))
        .chain([HEAD_TOPIC.to_owned()])
        .chain(site.readers.iter().map(|reader| page_topic(&reader.name)));
    Account {
        name: DAEMON_ACCOUNT.to_owned(),
        role: Role::Daemon,
        permissions: heard.map(read).chain(said.map(write)).collect(),
    }
}

fn ticker() -> Account {
    Account {
        name: TICKER_ACCOUNT.to_owned(),
        role: Role::Ticker,
        permissions: vec![write(TICK_TOPIC.to_owned())],
    }
}

fn meter(meter: &Meter) -> Account {
    let (said, heard) = match meter.model.generation {
        Generation::One => (GEN1_SAID, GEN1_HEARD),
        Generation::TwoPlus => (GEN2_SAID, GEN2_HEARD),
    };
    let below = |access, topics: &[&str]| -> Vec<Permission> {
        topics
            .iter()
            .map(|topic| Permission {
                access,
                topic: format!("{}/{topic}", meter.prefix),
            })
            .collect()
    };
    let mut permissions = below(Access::Write, said);
    permissions.push(Permission {
        access: Access::Write,
        topic: "shellies/announce".to_owned(),
    });
    permissions.extend(below(Access::Read, heard));
    permissions.push(Permission {
        access: Access::Read,
        topic: "shellies/command".to_owned(),
    });
    Account {
        name: meter.id.clone(),
        role: Role::Meter,
        permissions,
    }
}
