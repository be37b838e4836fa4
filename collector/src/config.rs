//! The collector's settings: complete and checked before anything connects, all mistakes at once.
//! Passwords come from files of their own. Only this module knows how the file is written.

mod mistakes;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use site::{Meter, Mistake, Mistakes};

use crate::secret::{Secret, Unreadable};
use table::{Page, Table};

/// Settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the site: the tag `site`.
    pub site: String,
    /// Folder for what outlives a restart: dead letters and the last status.
    pub state: PathBuf,
    /// Where messages come from.
    pub broker: Broker,
    /// Where points go.
    pub database: Database,
    /// At least one.
    pub meters: Vec<Meter>,
}

/// An MQTT broker, read directly.
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
    /// How many messages the broker may send before the first is acknowledged.
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
        let mut page = Page::new(file, text);
        let config = table::document(&mut page)
            .as_ref()
            .and_then(|document| read(&mut page, document, passwords));
        page.verdict(config)
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

type Passwords<'p> = &'p mut dyn FnMut(&Path) -> Result<Secret, Unreadable>;

/// Everything is looked at before the first missing part ends the reading.
fn read(page: &mut Page, document: &table::Document, passwords: Passwords) -> Option<Config> {
    let mut top = document.top();
    let site = page.text(&mut top, "site");
    let site = site.and_then(|site| mistakes::tag(page, site));
    let state = page.text(&mut top, "state");
    let broker = page
        .section(&mut top, "broker")
        .and_then(|table| broker(page, table, passwords));
    let database = page
        .section(&mut top, "database")
        .and_then(|table| database(page, table, passwords));
    let tables = page.sections(&mut top, "meter");
    let meters: Vec<Option<(table::Text, Meter)>> =
        tables.into_iter().map(|table| meter(page, table)).collect();
    mistakes::doubled_meters(page, meters.iter().flatten());
    page.finish(top);
    Some(Config {
        site: site?.value,
        state: PathBuf::from(state?.value),
        broker: broker?,
        database: database?,
        meters: meters
            .into_iter()
            .map(|meter| meter.map(|(_, meter)| meter))
            .collect::<Option<_>>()?,
    })
}

fn broker(page: &mut Page, mut table: Table, passwords: Passwords) -> Option<Broker> {
    let host = page.text(&mut table, "host");
    let port = page.whole(&mut table, "port", 1..=65_535, None);
    let account = page.text(&mut table, "account");
    let password_file = page.text(&mut table, "password_file");
    let password = password_file.and_then(|file| password(page, &file, passwords));
    let window = page.whole(&mut table, "window", 1..=65_535, Some(1000));
    page.finish(table);
    Some(Broker {
        host: host?.value,
        port: u16::try_from(port?).ok()?,
        account: account?.value,
        password: password?,
        window: u16::try_from(window?).ok()?,
    })
}

fn database(page: &mut Page, mut table: Table, passwords: Passwords) -> Option<Database> {
    let url = page.text(&mut table, "url");
    let url = url.and_then(|url| mistakes::url(page, url));
    let name = page.text(&mut table, "name");
    let user = page.optional_text(&mut table, "user");
    let password_file = page.optional_text(&mut table, "password_file");
    let login = match (user, password_file) {
        (Some(user), Some(file)) => password(page, &file, passwords).map(|password| {
            Some(Login {
                user: user.value,
                password,
            })
        }),
        (None, None) => Some(None),
        (Some(alone), None) => {
            page.mistake(
                &alone,
                "stands alone",
                "add password_file, or leave user out",
            );
            None
        }
        (None, Some(alone)) => {
            page.mistake(
                &alone,
                "stands alone",
                "add user, or leave password_file out",
            );
            None
        }
    };
    // Above 25 MB the database refuses a request, and a line has about 130 bytes.
    let batch_lines = page.whole(&mut table, "batch_lines", 1..=50_000, Some(5000));
    let batch_ms = page.whole(&mut table, "batch_ms", 10..=60_000, Some(1000));
    page.finish(table);
    Some(Database {
        url: url?.value,
        name: name?.value,
        login: login?,
        batch_lines: usize::try_from(batch_lines?).ok()?,
        batch_time: Duration::from_millis(u64::try_from(batch_ms?).ok()?),
    })
}

fn meter(page: &mut Page, mut table: Table) -> Option<(table::Text, Meter)> {
    let id = page.text(&mut table, "id");
    let id = id.and_then(|id| mistakes::tag(page, id));
    let model = page.text(&mut table, "model");
    let model = model.and_then(|model| mistakes::model(page, &model));
    let prefix = page.text(&mut table, "prefix");
    let prefix = prefix.and_then(|prefix| mistakes::prefix(page, prefix));
    let location = page.text(&mut table, "location");
    let point = page.text(&mut table, "point");
    let point = point.and_then(|point| mistakes::tag(page, point));
    let label = page.optional_text(&mut table, "label");
    let customer = page.optional_text(&mut table, "customer");
    let source = page.optional_text(&mut table, "source");
    let source = mistakes::source(page, source.as_ref());
    page.finish(table);
    let id = id?;
    let meter = Meter {
        id: id.value.clone(),
        model: model?,
        prefix: prefix?.value,
        location: location?.value,
        point: point?.value,
        label: label.map(|label| label.value),
        customer: customer.map(|customer| customer.value),
        source: source?,
    };
    Some((id, meter))
}

fn password(page: &mut Page, file: &table::Text, passwords: Passwords) -> Option<Secret> {
    match passwords(Path::new(&file.value)) {
        Ok(secret) => Some(secret),
        Err(Unreadable { problem, remedy }) => {
            page.mistake(file, &problem, &remedy);
            None
        }
    }
}
