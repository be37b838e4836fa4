//! What takes part in a lab, for the report.

use super::Lab;

impl Lab {
    /// What takes part, and in which version. What does not tell is left out.
    pub async fn versions(&self) -> Vec<(String, String)> {
        let asked = [
            (&self.bastion, "nftables", "nft --version"),
            (&self.bastion, "Mosquitto", "mosquitto -h | head -n 1"),
            (&self.influxdb, "InfluxDB", "influxd version"),
        ];
        let mut versions: Vec<_> = self.engine.version().await.into_iter().collect();
        for (node, what, command) in asked {
            let said = node.exec("root", &["sh", "-c", command]).await;
            let said = said.ok().map(|output| output.stdout.trim().to_owned());
            versions.extend(
                said.filter(|said| !said.is_empty())
                    .map(|said| (what.to_owned(), said)),
            );
        }
        versions
    }
}
