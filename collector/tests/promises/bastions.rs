//! One collector for several bastions.

use collector::config::Origin;

use crate::broker::{at, eventually, expected, points, start};
use crate::journal::Bench;

/// Two bastions of one site, each with a broker, a journal and a cursor of its own.
#[tokio::test(flavor = "multi_thread")]
async fn journals_of_two_bastions_are_read_side_by_side() {
    let (Some(one), Some(other)) = (Bench::new().await, Bench::new().await) else {
        return;
    };
    let daemons = (one.daemon().await, other.daemon().await);
    let mut config = one.config.clone();
    let mut second = at(&mut config).clone();
    second.port = other.broker.port;
    // Another name of this machine: a cursor is kept by the host's name.
    second.host = "localhost".to_owned();
    config.origin = Origin::Journals(vec![at(&mut config).clone(), second]);
    let running = start(config.clone());
    one.publish(0..200).await;
    one.stored(400).await;
    other.publish(200..500).await;
    one.stored(1000).await;
    assert_eq!(running.stop().await.received, 1000);
    // The one is fetched again when its cursor is gone, the other is not.
    std::fs::remove_file(config.state.join("cursor-localhost.json")).unwrap();
    let lines = one.database.lines().len();
    let running = start(config);
    eventually("the second came again", || {
        one.database.lines().len() >= lines + 600
    })
    .await;
    assert_eq!(running.stop().await.received, 600);
    assert_eq!(points(&one.database), expected(0..500));
    daemons.0.stop();
    daemons.1.stop();
}
