//! Opening a session with a bastion, and asking a person about a host key that is not known.

use anyhow::{Result, bail};

use crate::deployment::Options;
use crate::ssh::{HostKey, Lock, Session, SessionError, Ssh, SshError};
use crate::steps::Steps;

/// Opens a session that holds the lock. A host key that is not known is refused, or shown and
/// asked about.
///
/// # Errors
/// When there is no connection, the key is not taken in, or somebody else deploys.
pub async fn open(steps: &Steps, ssh: &Ssh, options: &Options, release: &str) -> Result<Session> {
    let lock = Lock {
        who: &options.who,
        folder: &options.places.folder,
        release,
        program: &options.places.program,
    };
    let step = steps.begin("connect");
    let session = match Session::open(ssh, lock).await {
        Err(SessionError::Ssh(SshError::HostKey { .. })) => {
            drop(step);
            let key = HostKey::look(ssh).await?;
            if !options.new_host {
                return Err(key.refusal(ssh).into());
            }
            steps.remark(&format!("{}\n{}", ssh.destination(), key.question()));
            if !steps.typed("Is this the machine?", "yes").await? {
                bail!("the host key was not taken in; nothing was changed there");
            }
            let file = key.accept().await?;
            steps.remark(&format!("written into {}", file.display()));
            let step = steps.begin("connect");
            let session = Session::open(ssh, lock).await?;
            step.done(&format!("{}, with its new host key", ssh.destination()));
            session
        }
        opened => {
            let session = opened?;
            step.done(ssh.destination());
            session
        }
    };
    Ok(session)
}
