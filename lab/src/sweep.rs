//! Removes what labs left behind that no longer have an owner: after SIGKILL, nothing else does.
//!
//! Labs whose owner lives are left alone, so two may run at once. Labs that were kept on purpose
//! are left alone too, except when asked for.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use bollard::errors::Error;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};

use crate::engine::{Engine, KEPT_LABEL, OWNER_LABEL, start_time};

/// How far a sweep goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// What nobody owns and nobody kept.
    Abandoned,
    /// What nobody owns, kept or not.
    KeptToo,
    /// What this process owns.
    Own,
}

/// Removes containers, then networks, and returns the names of what was removed. Goes on after a
/// failure and reports all of them.
///
/// # Errors
/// When the engine cannot be asked, or refused to remove something.
pub async fn sweep(engine: &Engine, reach: Reach) -> Result<Vec<String>> {
    let (mut removed, mut failed) = (Vec::new(), Vec::new());
    let mut somebody_else = false;
    let mut note = |name: String, outcome: Result<(), Error>| match outcome {
        Ok(()) => removed.push(name),
        Err(error) => match error {
            // Somebody else was quicker: it is gone, and that is what was wanted.
            Error::DockerResponseServerError {
                status_code: 404, ..
            } => {}
            // Another sweep is at it right now, and will take away what hangs on it as well.
            Error::DockerResponseServerError {
                status_code: 409, ..
            } => somebody_else = true,
            Error::DockerResponseServerError {
                status_code: 403, ..
            } if somebody_else => {}
            error => failed.push(format!("{name}: {error}")),
        },
    };
    let (containers, networks) = made_by_labs(engine).await?;
    for thing in containers
        .iter()
        .filter(|thing| thing.is_in_reach(engine, reach))
    {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        let outcome = engine
            .docker
            .remove_container(&thing.id, Some(options))
            .await;
        note(thing.name.clone(), outcome);
    }
    for thing in networks
        .iter()
        .filter(|thing| thing.is_in_reach(engine, reach))
    {
        note(
            thing.name.clone(),
            engine.docker.remove_network(&thing.id).await,
        );
    }
    if failed.is_empty() {
        Ok(removed)
    } else {
        Err(anyhow::anyhow!("could not remove {}", failed.join("; ")))
    }
}

/// Sweeps what dead labs left, then has a lab stood up; what there is of one that does not come up is
/// removed.
///
/// # Errors
/// When it does not come up, or a sweep fails.
pub async fn swept<T>(engine: &Engine, stand_up: impl Future<Output = Result<T>>) -> Result<T> {
    let left = sweep(engine, Reach::Abandoned).await?;
    if !left.is_empty() {
        eprintln!("swept what an earlier lab left: {}", left.join(", "));
    }
    match stand_up.await {
        Ok(lab) => Ok(lab),
        Err(error) => {
            sweep(engine, Reach::Own)
                .await
                .context("removing a lab that did not come up")?;
            Err(error)
        }
    }
}

/// Names of everything that stands and belongs to one owner.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn belongings(engine: &Engine, owner: &str) -> Result<BTreeSet<String>> {
    let (containers, networks) = made_by_labs(engine).await?;
    let all = containers.into_iter().chain(networks);
    Ok(all
        .filter(|thing| thing.owner == owner)
        .map(|thing| thing.name)
        .collect())
}

/// A container or network that a lab made.
struct Thing {
    id: String,
    name: String,
    owner: String,
    kept: bool,
}

impl Thing {
    fn new(
        id: Option<String>,
        name: Option<String>,
        labels: Option<HashMap<String, String>>,
    ) -> Option<Thing> {
        let labels = labels?;
        let owner = labels.get(OWNER_LABEL)?.clone();
        Some(Thing {
            id: id?,
            name: name?,
            owner,
            kept: labels.contains_key(KEPT_LABEL),
        })
    }

    fn is_in_reach(&self, engine: &Engine, reach: Reach) -> bool {
        match reach {
            Reach::Own => self.owner == engine.owner,
            Reach::Abandoned => !self.kept && !lives(&self.owner),
            Reach::KeptToo => !lives(&self.owner),
        }
    }
}

/// Containers and networks with the lab's label.
async fn made_by_labs(engine: &Engine) -> Result<(Vec<Thing>, Vec<Thing>)> {
    let filters = HashMap::from([("label".to_owned(), vec![OWNER_LABEL.to_owned()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let containers = engine
        .docker
        .list_containers(Some(options))
        .await
        .context("listing containers")?;
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filters)
        .build();
    let networks = engine
        .docker
        .list_networks(Some(options))
        .await
        .context("listing networks")?;
    let containers = containers.into_iter().filter_map(|container| {
        let name = container
            .names
            .and_then(|names| Some(names.first()?.trim_start_matches('/').to_owned()));
        Thing::new(container.id, name, container.labels)
    });
    let networks = networks
        .into_iter()
        .filter_map(|network| Thing::new(network.id, network.name, network.labels));
    Ok((containers.collect(), networks.collect()))
}

/// Whether the process that owns a lab is still the one that began it.
pub(crate) fn lives(owner: &str) -> bool {
    let Some((process, began)) = owner.split_once('-') else {
        return false;
    };
    let began: Option<u64> = began.parse().ok();
    began.is_some() && process.parse().ok().and_then(start_time) == began
}

#[cfg(test)]
mod tests {
    use super::lives;
    use crate::engine::start_time;

    #[test]
    fn an_owner_lives_until_its_process_ends() {
        let own = std::process::id();
        let began = start_time(own).unwrap();
        assert!(lives(&format!("{own}-{began}")));
        assert!(
            !lives(&format!("{own}-{}", began + 1)),
            "another process with the same number"
        );
        assert!(!lives("4194304-1"), "no such process");
        assert!(!lives("nonsense"));
    }
}
