//! What a failure on the virtual Pi leaves behind, looked at through its console.

use std::time::Duration;

use anyhow::Result;

use super::machine::{Machine, SCREEN_LOG};
use crate::node::Output;

impl Machine {
    /// What a failure leaves behind here: file names and their content. Never fails: what cannot
    /// be had says why.
    pub async fn evidence(&self) -> Vec<(&'static str, String)> {
        const LOOKS: [(&str, &str); 4] = [
            (
                "pi-journal.txt",
                "journalctl --no-pager --output=short-precise --lines=3000",
            ),
            ("pi-ruleset.txt", "nft list ruleset"),
            (
                "pi-network.txt",
                "ip addr; ip route; ip -6 route; ss -tunap; cat /etc/resolv.conf",
            ),
            (
                "pi-state.txt",
                "date; uptime; systemctl --failed --no-pager; systemctl list-timers --no-pager; \
                 find /var/lib/shelly-bastion /run/shelly-bastion -ls; \
                 tail -n 50 /var/lib/shelly-bastion/history.jsonl",
            ),
        ];
        let screen = self.hull.exec("root", &["cat", SCREEN_LOG]).await;
        let said = |output: Result<Output>| match output {
            Ok(output) => output.stdout,
            Err(error) => format!("{error:#}"),
        };
        let mut evidence = vec![("pi-screen.txt", said(screen))];
        for (file, look) in LOOKS {
            let found = self.console(look, Duration::from_secs(30)).await;
            let gone = found.is_err();
            evidence.push((file, said(found)));
            // One console that does not answer is waited for only once.
            if gone {
                break;
            }
        }
        evidence
    }
}
