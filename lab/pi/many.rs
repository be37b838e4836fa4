//! Three hundred meters on one Pi: the state in which the journal is measured, and in which the
//! machine itself fails while they speak.

use std::fs;

use anyhow::{Context as _, Result, bail};
use lab::site_file;
use lab::virtual_pi::access::{ALIAS, Access};

use crate::deployed::{DEPLOYED, LATER};
use crate::stage::Stage;

/// As many as the project is made for.
pub(crate) const METERS: usize = 300;
/// A machine with all of them.
const MANY: &str = "many";

impl Stage {
    /// Brings the machine into that state, and makes it when nobody has asked before; gives the
    /// folder that it was deployed from.
    pub(crate) async fn begin_with_many_meters(&self) -> Result<&Access> {
        let made = self.many.get_or_init(|| async {
            let made = self.deploy_many().await;
            made.map_err(|error| format!("{error:#}"))
        });
        match made.await {
            Ok(access) => {
                self.begin_from(MANY).await?;
                Ok(access)
            }
            Err(error) => bail!("{METERS} meters did not come about: {error}"),
        }
    }

    async fn deploy_many(&self) -> Result<Access> {
        self.begin_from(DEPLOYED).await?;
        let access = self.again(MANY).await?;
        let text = site_file::write_for_a_pi(&self.lab.topology, METERS, ALIAS);
        let path = access.site();
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        self.deploy_well(&access).await?;
        self.machine().wait_until_settled(LATER).await?;
        self.machine().remember(MANY).await?;
        Ok(access)
    }
}
