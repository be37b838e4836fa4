//! Writes line protocol to an InfluxDB 1.x (or anything else that speaks its `/write`).
//!
//! A write ends only when every line is in the database or refused by it for good, with the
//! reason. Everything else (no connection, no database, no permission, overload) is tried again
//! for ever, since lines with the same time and tags may be written any number of times.

mod verdict;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use thiserror::Error;
use tracing::{info, warn};

use crate::config;
use crate::patience::Patience;
pub use verdict::{Verdict, verdict};

/// A request that takes longer is given up and made again.
const REQUEST: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read; an error names one line.
const LONGEST_ANSWER: usize = 64 * 1024;
/// A database that asks for a longer rest is asked again all the same.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// One database.
pub struct Database {
    client: reqwest::Client,
    address: reqwest::Url,
    login: Option<config::Login>,
    name: String,
    gzip: bool,
}

/// The settings of a database cannot be used.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Its address is none.
    #[error("the database's address {url}: {problem}")]
    Address {
        /// As given.
        url: String,
        /// What the parser says.
        problem: String,
    },
    /// The HTTP client cannot start.
    #[error("starting the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A line that the database does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place among the lines given, from 0.
    pub line: usize,
    /// In the database's words.
    pub reason: String,
}

impl Database {
    /// A database that is not yet spoken to.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(settings: &config::Database) -> Result<Self, SetupError> {
        let mut address =
            reqwest::Url::parse(&format!("{}/write", settings.url)).map_err(|error| {
                SetupError::Address {
                    url: settings.url.clone(),
                    problem: error.to_string(),
                }
            })?;
        address
            .query_pairs_mut()
            .append_pair("db", &settings.name)
            .append_pair("precision", "ns");
        let client = reqwest::Client::builder()
            .timeout(REQUEST)
            .connect_timeout(CONNECT)
            // The answer of another server is not the database's.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self {
            client,
            address,
            login: settings.login.clone(),
            name: settings.name.clone(),
            gzip: settings.gzip,
        })
    }

    /// Writes lines, each ending in a newline. Returns those refused, in their order; every other
    /// line is in the database then. Waits as long as it takes.
    pub async fn write(&self, text: Bytes) -> Vec<Refused> {
        let Some(reason) = self.write_part(text.clone()).await else {
            return Vec::new();
        };
        // The good lines of a refused part may be in the database already; writing them again
        // changes nothing, so halving finds the bad ones.
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let mut refused = Vec::new();
        let mut parts = vec![(0, lines.as_slice(), reason)];
        while let Some((first, part, reason)) = parts.pop() {
            if part.len() <= 1 {
                refused.push(Refused {
                    line: first,
                    reason,
                });
                continue;
            }
            let (left, right) = part.split_at(part.len() / 2);
            // The left one is looked at first, so it comes last.
            for (first, half) in [(first + left.len(), right), (first, left)] {
                if let Some(reason) = self.write_part(half.concat().into()).await {
                    parts.push((first, half, reason));
                }
            }
        }
        refused
    }

    /// Tries until the part is written, or refused with a reason.
    async fn write_part(&self, lines: Bytes) -> Option<String> {
        if lines.is_empty() {
            return None;
        }
        let body = if self.gzip {
            Bytes::from(gzip(&lines))
        } else {
            lines.clone()
        };
        let mut patience = Patience::new();
        let mut tries = 0_u32;
        loop {
            let (problem, remedy, rest) = match self.post(body.clone()).await {
                Ok((Verdict::Written, _)) => {
                    if tries > 0 {
                        info!(
                            database = self.name,
                            tries, "the database takes lines again"
                        );
                    }
                    return None;
                }
                Ok((Verdict::Split { reason }, _)) => return Some(reason),
                Ok((Verdict::Later { problem, remedy }, rest)) => (problem, remedy, rest),
                Err(error) => (
                    format!("no answer: {:#}", anyhow::Error::from(error.without_url())),
                    "see that it runs and that [database] url names it",
                    None,
                ),
            };
            tries = tries.saturating_add(1);
            let wait = rest
                .unwrap_or_default()
                .min(LONGEST_REST)
                .max(patience.next_wait());
            let lines = lines.split(|byte| *byte == b'\n').count() - 1;
            warn!(
                database = self.name,
                lines,
                problem,
                remedy,
                ?wait,
                "not written, and tried again"
            );
            tokio::time::sleep(wait).await;
        }
    }

    async fn post(&self, body: Bytes) -> Result<(Verdict, Option<Duration>), reqwest::Error> {
        let mut request = self
            .client
            .post(self.address.clone())
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(body);
        if self.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.user, Some(login.password.expose()));
        }
        let mut answer = request.send().await?;
        let status = answer.status().as_u16();
        let rest = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|rest| rest.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            let room = LONGEST_ANSWER.saturating_sub(body.len());
            if room == 0 {
                break;
            }
            body.extend_from_slice(part.get(..room).unwrap_or(&part));
        }
        Ok((verdict(status, &body), rest))
    }
}

fn gzip(lines: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    drop(encoder.write_all(lines));
    encoder.finish().unwrap_or_default()
}
