//! The collector's settings and the two files beside them.

use serde::Serialize;
use site::{Bastion, Generation, Reader, Site, Source};

use super::{RenderError, RenderedFile};
use crate::secrets::Secrets;

/// Where a collector's files lie on its machine.
pub const COLLECTOR_FOLDER: &str = "/etc/collector";
const STATE_FOLDER: &str = "/var/lib/collector";

#[derive(Serialize)]
struct Settings<'a> {
    site: &'a str,
    state: &'a str,
    bastion: Vec<BastionOf<'a>>,
    database: Database<'a>,
    meter: Vec<Meter<'a>>,
}

#[derive(Serialize)]
struct BastionOf<'a> {
    host: String,
    port: u16,
    account: &'a str,
    password_file: String,
}

#[derive(Serialize)]
struct Database<'a> {
    url: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Meter<'a> {
    id: &'a str,
    model: &'a str,
    prefix: &'a str,
    location: &'a str,
    point: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

/// The files of a collector that reads the journals of these bastions, with one account.
///
/// # Errors
/// When the account has no password.
pub fn collector_files(
    site: &Site,
    bastions: &[Bastion],
    reader: &Reader,
    secrets: &Secrets,
) -> Result<Vec<RenderedFile>, RenderError> {
    let settings_path = format!("{COLLECTOR_FOLDER}/collector.toml");
    let password_path = format!("{COLLECTOR_FOLDER}/{}.password", reader.name);
    let settings = Settings {
        site: &site.name,
        state: STATE_FOLDER,
        bastion: bastions
            .iter()
            .map(|bastion| BastionOf {
                host: bastion
                    .addresses
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                port: site::flow::MQTT_PORT,
                account: &reader.name,
                password_file: password_path.clone(),
            })
            .collect(),
        database: Database {
            url: &site.database.url,
            name: &site.database.name,
        },
        meter: site
            .meters
            .iter()
            .map(|meter| Meter {
                id: &meter.id,
                model: meter.model.name,
                prefix: &meter.prefix,
                location: &meter.location,
                point: &meter.point,
                label: meter.label.as_deref(),
                customer: meter.customer.as_deref(),
                source: (meter.model.generation == Generation::TwoPlus).then_some(meter.source),
            })
            .collect(),
    };
    let text = toml::to_string(&settings).map_err(|error| RenderError::Form {
        file: settings_path.clone(),
        problem: error.to_string(),
    })?;
    let private = |path: String, content: String| RenderedFile {
        path,
        mode: 0o600,
        owner: "root".into(),
        group: "root".into(),
        content: content.into_bytes(),
    };
    Ok(vec![
        private(settings_path, text),
        private(
            password_path,
            format!("{}\n", secrets.password(&reader.name)?.expose()),
        ),
    ])
}
