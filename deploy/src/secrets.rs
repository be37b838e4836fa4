//! One password per account, generated once and kept in a file beside the site file.
//!
//! The file is the only place where passwords are in clear. It is readable by its owner alone,
//! and git ignores it. Losing it means new passwords for every meter, so nothing here ever
//! replaces a password that exists.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::Sha512;
use site::Site;
use site::account::Account;
use zeroize::Zeroizing;

/// Letters and digits that nobody confuses when reading aloud: no `i l o 0 1`.
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
const GROUPS: usize = 5;
const GROUP_LENGTH: usize = 4;
/// Mosquitto takes salts of exactly twelve bytes.
const SALT_LENGTH: usize = 12;
/// The passwords are random, and the broker pays for iterations on its only thread.
const ITERATIONS: u32 = 101;
const HASH_LENGTH: usize = 64;

/// Why secrets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read or written.
    #[error("secrets file {path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error("secrets file {path} has mode {mode:04o}, so others can read it; chmod 0600 {path}", path = path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not what this program wrote.
    #[error("secrets file {path}: {problem}; restore it from a copy, or delete it to give every account a new password", path = path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it. Never a secret.
        problem: String,
    },
    /// The system has no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    /// An account of the site has no password yet.
    #[error("account {0} has no password; generate the missing ones first")]
    Missing(String),
}

/// A password. Prints as `***`, and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// The password itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is kept of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    password: Password,
    /// Base64 of the salt: kept, so that rendering twice gives the same hash.
    salt: String,
}

/// The passwords of a site's accounts, by account name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    accounts: BTreeMap<String, Secret>,
}

impl Secrets {
    /// Where the secrets of a site file are kept: `home.toml` has `home.secrets.toml` beside it.
    #[must_use]
    pub fn path_beside(site_file: &Path) -> PathBuf {
        site_file.with_extension("secrets.toml")
    }

    /// Reads the file; no file means no secrets yet.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it, or it is not what this program wrote.
    pub fn load(path: &Path) -> Result<Secrets, SecretsError> {
        let failed = |source| SecretsError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Secrets::default()),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretsError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let malformed = |problem: String| SecretsError::Malformed {
            path: path.to_owned(),
            problem,
        };
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(failed)?;
        // Only the place: what the parser says quotes keys and values, and so the secret.
        let secrets: Secrets = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            malformed(format!("line {line} is not as this program writes it"))
        })?;
        for (name, secret) in &secrets.accounts {
            if secret.password.expose().is_empty() {
                return Err(malformed(format!(
                    "the password of account {name} is empty"
                )));
            }
            let salt = STANDARD.decode(&secret.salt).unwrap_or_default();
            if salt.len() != SALT_LENGTH {
                return Err(malformed(format!(
                    "the salt of account {name} is not {SALT_LENGTH} bytes of base64"
                )));
            }
        }
        Ok(secrets)
    }

    /// Gives every account of the site that has none a new password and salt, and returns the
    /// names of those accounts. Nothing that exists is changed.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn complete(&mut self, site: &Site) -> Result<Vec<String>, SecretsError> {
        let mut added = Vec::new();
        for account in Account::all(site) {
            if !self.accounts.contains_key(&account.name) {
                let secret = Secret {
                    password: generate_password()?,
                    salt: generate_salt()?,
                };
                self.accounts.insert(account.name.clone(), secret);
                added.push(account.name);
            }
        }
        Ok(added)
    }

    /// Forgets an account, so that [`Secrets::complete`] gives it a new password and salt.
    pub fn forget(&mut self, account: &str) {
        self.accounts.remove(account);
    }

    /// Writes the file as a whole, readable by its owner alone.
    ///
    /// # Errors
    /// When the file cannot be written; the old one is then still there.
    pub fn save(&self, path: &Path) -> Result<(), SecretsError> {
        let failed = |source| SecretsError::File {
            path: path.to_owned(),
            source,
        };
        let text = toml::to_string(self).map_err(|error| SecretsError::Malformed {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        let text = Zeroizing::new(format!(
            "# Passwords of all accounts. Keep a copy in a safe place: without this file,\n\
             # a new bastion means new passwords on every meter.\n{text}"
        ));
        replace(path, text.as_bytes()).map_err(failed)
    }

    /// The password of an account.
    ///
    /// # Errors
    /// When the account has none.
    pub fn password(&self, account: &str) -> Result<&Password, SecretsError> {
        Ok(&self.secret(account)?.password)
    }

    /// The line of Mosquitto's password file for an account, without the line break:
    /// `name:$7$<iterations>$<salt>$<hash>`, PBKDF2 with HMAC-SHA512.
    ///
    /// # Errors
    /// When the account has no password.
    pub fn passwd_line(&self, account: &str) -> Result<String, SecretsError> {
        let secret = self.secret(account)?;
        let salt = STANDARD
            .decode(&secret.salt)
            .map_err(|_| SecretsError::Missing(account.to_owned()))?;
        let mut hash = [0; HASH_LENGTH];
        pbkdf2::pbkdf2_hmac::<Sha512>(
            secret.password.expose().as_bytes(),
            &salt,
            ITERATIONS,
            &mut hash,
        );
        Ok(format!(
            "{account}:$7${ITERATIONS}${}${}",
            secret.salt,
            STANDARD.encode(hash)
        ))
    }

    fn secret(&self, account: &str) -> Result<&Secret, SecretsError> {
        self.accounts
            .get(account)
            .ok_or_else(|| SecretsError::Missing(account.to_owned()))
    }
}

/// The new file's name ends like the old one's, so that git ignores it too when it is left behind.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(".new.");
    name.push(path.file_name().unwrap_or_default());
    let new = path.with_file_name(name);
    // A leftover of an earlier run may have another mode, and open() would keep it.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The first error is the one that counts.
        let _ = fs::remove_file(&new);
    }
    written
}

fn generate_password() -> Result<Password, SecretsError> {
    let mut password = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_LENGTH + 1)));
    for position in 0..GROUPS * GROUP_LENGTH {
        if position > 0 && position % GROUP_LENGTH == 0 {
            password.push('-');
        }
        password.push(random_letter()?);
    }
    Ok(Password(password))
}

/// A letter, each as likely as any other: bytes beyond the last full alphabet are thrown away.
fn random_letter() -> Result<char, SecretsError> {
    let usable = u8::MAX - u8::MAX % u8::try_from(ALPHABET.len()).unwrap_or(u8::MAX);
    loop {
        let mut byte = [0];
        getrandom::fill(&mut byte).map_err(SecretsError::Random)?;
        if byte[0] < usable
            && let Some(letter) = ALPHABET.get(usize::from(byte[0]) % ALPHABET.len())
        {
            return Ok(char::from(*letter));
        }
    }
}

fn generate_salt() -> Result<String, SecretsError> {
    let mut salt = [0; SALT_LENGTH];
    getrandom::fill(&mut salt).map_err(SecretsError::Random)?;
    Ok(STANDARD.encode(salt))
}
