//! The broker's password file and access rules, written out per account.

use std::fmt::Write as _;

use site::account::{Access, Account};
use site::manifest;

use super::RenderedFile;
use crate::secrets::{Secrets, SecretsError};

/// The broker runs as `mosquitto` when it reads its files again, so that group may read them.
fn broker_only(path: &str, content: String) -> RenderedFile {
    RenderedFile {
        path: path.to_owned(),
        mode: 0o640,
        owner: "root".into(),
        group: "mosquitto".into(),
        content: content.into_bytes(),
    }
}

/// One line per account. Two lines of one name would make the last win; accounts are unique.
pub(super) fn passwd(
    accounts: &[Account],
    secrets: &Secrets,
) -> Result<RenderedFile, SecretsError> {
    let mut content = String::new();
    for account in accounts {
        content.push_str(&secrets.passwd_line(&account.name)?);
        content.push('\n');
    }
    Ok(broker_only(manifest::PASSWD_PATH, content))
}

/// What each account may read and write; all else is refused by the broker.
pub(super) fn acl(accounts: &[Account]) -> RenderedFile {
    let mut content =
        String::from("# Each account may do what stands below its name, and nothing else.\n");
    for account in accounts {
        // Writing to a String cannot fail.
        let _ = write!(content, "\nuser {}\n", account.name);
        for permission in &account.permissions {
            let access = match permission.access {
                Access::Read => "read",
                Access::Write => "write",
            };
            let _ = writeln!(content, "topic {access} {}", permission.topic);
        }
    }
    broker_only(manifest::ACL_PATH, content)
}
