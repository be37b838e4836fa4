//! Removes what labs left behind that no longer have an owner: after SIGKILL, nothing else does.
//!
//! Labs whose owner lives are left alone, so two may run at once. Labs that were kept on purpose
//! are left alone too, except when asked for.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
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
    let filters = HashMap::from([("label".to_owned(), vec![OWNER_LABEL.to_owned()])]);
    let (mut removed, mut failed) = (Vec::new(), Vec::new());
    let mut note = |name: String, outcome: Result<(), bollard::errors::Error>| match outcome {
        Ok(()) => removed.push(name),
        // Somebody else was quicker: it is gone, and that is what was wanted.
        Err(bollard::errors::Error::DockerResponseServerError {
            status_code: 404, ..
        }) => {}
        Err(error) => failed.push(format!("{name}: {error}")),
    };
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let containers = engine
        .docker
        .list_containers(Some(options))
        .await
        .context("listing containers")?;
    for container in containers {
        let (Some(id), Some(labels)) = (container.id, container.labels) else {
            continue;
        };
        if is_in_reach(&labels, engine, reach) {
            let options = RemoveContainerOptionsBuilder::default()
                .force(true)
                .v(true)
                .build();
            let name = container.names.unwrap_or_default().join(" ");
            note(
                name,
                engine.docker.remove_container(&id, Some(options)).await,
            );
        }
    }
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filters)
        .build();
    let networks = engine
        .docker
        .list_networks(Some(options))
        .await
        .context("listing networks")?;
    for network in networks {
        let (Some(id), Some(labels)) = (network.id, network.labels) else {
            continue;
        };
        if is_in_reach(&labels, engine, reach) {
            note(
                network.name.unwrap_or_default(),
                engine.docker.remove_network(&id).await,
            );
        }
    }
    if failed.is_empty() {
        Ok(removed)
    } else {
        Err(anyhow::anyhow!("could not remove {}", failed.join("; ")))
    }
}

fn is_in_reach(labels: &HashMap<String, String>, engine: &Engine, reach: Reach) -> bool {
    let Some(owner) = labels.get(OWNER_LABEL) else {
        return false;
    };
    match reach {
        Reach::Own => *owner == engine.owner,
        Reach::Abandoned => !labels.contains_key(KEPT_LABEL) && !lives(owner),
        Reach::KeptToo => !lives(owner),
    }
}

/// Whether the process that owns a lab is still the one that began it.
fn lives(owner: &str) -> bool {
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
