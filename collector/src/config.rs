//! The collector's settings: complete and checked before anything connects, all mistakes at once.
//! Passwords come from files of their own. Only this module knows how the file is written.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use site::form::meter::{MeterDraft, names_differ, topics_differ};
use site::form::value::host::{self, host};
use site::form::value::label;
use site::form::{Fault, Form, Key, Page, Table, Written};
use site::{Meter, Mistake, Mistakes};

use crate::secret::{Secret, Unreadable};

const FORM: Form = Form {
    name: "settings file",
    example: "the example of collector --help",
    // Longer than any file that is rendered from a site file: prefixes are written out here.
    longest: 4 << 20,
};

/// Settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the site: the tag `site`.
    pub site: String,
    /// Folder for what outlives a restart: dead letters and the last status.
    pub state: PathBuf,
    /// Where messages come from.
    pub origin: Origin,
    /// Where points go.
    pub database: Database,
    /// At least one.
    pub meters: Vec<Meter>,
}

/// Where messages come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// The journals of these bastions, at least one: `[[bastion]]`.
    Journals(Vec<Broker>),
    /// A broker without a journal, what waits there, and cannot be dated: `[broker]`.
    Broker(Broker),
}

impl Origin {
    /// Host names or addresses.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        match self {
            Origin::Journals(bastions) => bastions.iter().map(|one| one.host.as_str()).collect(),
            Origin::Broker(broker) => vec![&broker.host],
        }
    }
}

/// An MQTT broker, read directly or as the way to a bastion's journal.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name and client id: a broker of this project forces the one to be the other.
    pub account: String,
    /// Its password.
    pub password: Secret,
    /// How many messages the broker may send before the first is acknowledged; of no meaning for a
    /// journal.
    pub window: u16,
}

/// An InfluxDB 1.x write API.
#[derive(Debug, Clone)]
pub struct Database {
    /// `http://host:port`, without a slash at the end.
    pub url: String,
    /// Name of the database.
    pub name: String,
    /// Who writes, if it asks.
    pub login: Option<Login>,
    /// Most lines in one request.
    pub batch_lines: usize,
    /// Longest time that a reading waits for others.
    pub batch_time: Duration,
    /// Whether requests are compressed. On this machine that costs both sides more than it saves.
    pub gzip: bool,
}

/// A user of the database.
#[derive(Debug, Clone)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

impl Config {
    /// Reads a settings file and the password files that it names.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        Self::parse(
            &path.display().to_string(),
            &contents(path)?,
            &mut Secret::read,
        )
    }

    /// Reads a settings file without its passwords, for work that connects to nothing.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn load_without_passwords(path: &Path) -> Result<Self, Mistakes> {
        let mut none = |_: &Path| Ok(Secret::new(""));
        Self::parse(&path.display().to_string(), &contents(path)?, &mut none)
    }

    /// Checks settings given as text; `file` is their name in mistakes.
    ///
    /// # Errors
    /// All mistakes, in the order of their lines.
    pub fn parse(
        file: &str,
        text: &str,
        passwords: &mut dyn FnMut(&Path) -> Result<Secret, Unreadable>,
    ) -> Result<Self, Mistakes> {
        let read = FORM.read(file, text, |page, top| read(page, top, passwords));
        read.map(|(config, _)| config)
    }
}

fn contents(path: &Path) -> Result<String, Mistakes> {
    std::fs::read_to_string(path).map_err(|error| {
        Mistakes(vec![Mistake {
            file: path.display().to_string(),
            line: None,
            key: "the whole file".to_owned(),
            value: None,
            problem: format!("cannot read it: {error}"),
            remedy: "name the settings file with --config".to_owned(),
        }])
    })
}

const PASSWORD_FILE: Key = Key("password_file", "\"/etc/collector/broker.password\"");

const BASTION: &str = "bastion";
const BROKER: &str = "broker";
/// Each has two connections' worth of memory.
const MOST_BASTIONS: usize = 64;
const WINDOW: Key = Key("window", "1000");
const USUAL_WINDOW: u16 = 1000;

type Passwords<'p> = &'p mut dyn FnMut(&Path) -> Result<Secret, Unreadable>;

/// Everything is looked at before the first missing part ends the reading.
fn read(page: &mut Page, mut top: Table, passwords: Passwords) -> Option<Config> {
    let site = page.required(&mut top, Key("site", "\"home\""), label);
    let state = Key("state", "\"/var/lib/collector\"");
    let state = page.required(&mut top, state, filled);
    let origin = origin(page, &mut top, passwords);
    let database = page
        .section(&mut top, "database")
        .and_then(|table| database(page, table, passwords));
    let meters = MeterDraft::all(page, &mut top);
    names_differ(page, &meters);
    topics_differ(page, &meters);
    page.finish(top);
    let meters = meters.into_iter().map(MeterDraft::meter);
    Some(Config {
        site: site?.value,
        state: state?.value.into(),
        origin: origin?,
        database: database?,
        meters: meters.collect::<Option<_>>()?,
    })
}

/// Bastions, unless there is a broker in their place.
fn origin(page: &mut Page, top: &mut Table, passwords: Passwords) -> Option<Origin> {
    let several = top.has(BASTION);
    if let Some(table) = page.optional_section(top, BROKER) {
        if several {
            let remedy =
                "leave out the one or the other: a bastion has a journal, a [broker] has none";
            page.mistake(
                table.place(),
                Fault::new("stands beside [[bastion]]", remedy),
            );
        } else {
            let (_, broker) = broker(page, table, Some(WINDOW), passwords);
            return broker.map(Origin::Broker);
        }
    }
    let tables = page.sections(top, BASTION, MOST_BASTIONS);
    let read: Vec<_> = tables
        .into_iter()
        .map(|table| broker(page, table, None, passwords))
        .collect();
    let hosts = read.iter().filter_map(|(host, _)| host.as_ref());
    let hosts = hosts.map(|host| (&host.value, &host.place));
    page.twice(hosts, |first| {
        let problem = format!(
            "is the host of another bastion already ({})",
            first.line_name()
        );
        Fault::new(problem, "leave one of them out")
    });
    let bastions: Option<Vec<Broker>> = read.into_iter().map(|(_, bastion)| bastion).collect();
    bastions.filter(|all| !all.is_empty()).map(Origin::Journals)
}

/// What [`BASTION`] and [`BROKER`] have in common; gives the host by itself as well.
fn broker(
    page: &mut Page,
    mut table: Table,
    window: Option<Key>,
    passwords: Passwords,
) -> (Option<Written<String>>, Option<Broker>) {
    let host = page.required(&mut table, Key("host", "\"192.168.2.2\""), host);
    let port = page.number(&mut table, Key("port", "1883"), 1..=u16::MAX, None);
    let account = page.required(&mut table, Key("account", "\"collector\""), filled);
    let file = page.required(&mut table, PASSWORD_FILE, filled);
    let password = file.and_then(|file| password(page, &file, passwords));
    let window = match window {
        Some(key) => page.number(&mut table, key, 1..=u16::MAX, Some(USUAL_WINDOW)),
        None => Some(USUAL_WINDOW),
    };
    page.finish(table);
    let whole = || {
        Some(Broker {
            host: host.as_ref()?.value.clone(),
            port: port?,
            account: account?.value,
            password: password?,
            window: window?,
        })
    };
    let broker = whole();
    (host, broker)
}

fn database(page: &mut Page, mut table: Table, passwords: Passwords) -> Option<Database> {
    let url = Key("url", "\"http://192.168.1.20:8086\"");
    let url = page.required(&mut table, url, database_url);
    let name = page.required(&mut table, Key("name", "\"energy\""), filled);
    let user = page.optional(&mut table, Key("user", "\"collector\""), filled);
    let file = page.optional(&mut table, PASSWORD_FILE, filled);
    let mut alone = |written: &Written<String>, remedy: &str| {
        page.mistake(&written.place, Fault::new("stands alone", remedy));
    };
    let login = match (user, file) {
        (Some(user), Some(file)) => password(page, &file, passwords).map(|password| {
            Some(Login {
                user: user.value,
                password,
            })
        }),
        (None, None) => Some(None),
        (Some(user), None) => {
            alone(&user, "add password_file, or leave user out");
            None
        }
        (None, Some(file)) => {
            alone(&file, "add user, or leave password_file out");
            None
        }
    };
    // Above 25 MB the database refuses a request, and a line has about 150 bytes.
    let lines = Key("batch_lines", "8000");
    let batch_lines = page.number(&mut table, lines, 1..=50_000, Some(8_000));
    let batch_ms = Key("batch_ms", "1000");
    let batch_ms = page.number(&mut table, batch_ms, 10..=60_000, Some(1000));
    let gzip = page.flag(&mut table, Key("gzip", "true"));
    page.finish(table);
    let url = url?.value;
    Some(Database {
        gzip: gzip || !is_here(&url),
        url,
        name: name?.value,
        login: login?,
        batch_lines: batch_lines?,
        batch_time: Duration::from_millis(batch_ms?),
    })
}

fn password(page: &mut Page, file: &Written<String>, passwords: Passwords) -> Option<Secret> {
    match passwords(Path::new(&file.value)) {
        Ok(secret) => Some(secret),
        Err(Unreadable { problem, remedy }) => {
            page.mistake(&file.place, Fault::new(problem, remedy));
            None
        }
    }
}

/// The address of the database. The collector speaks no TLS: both stand in the same house.
fn database_url(text: &str) -> Result<String, Fault> {
    if text.contains('@') {
        return Err(Fault::new("names a user", "use user and password_file").secret());
    }
    host::url(text)
}

/// Whether an address, which has a port, is this machine's own.
fn is_here(url: &str) -> bool {
    let host = url.strip_prefix("http://").unwrap_or(url);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A text that means something to another program only.
fn filled(text: &str) -> Result<String, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new("is empty", "write a text"));
    }
    Ok(text.to_owned())
}
