//! Addresses beyond one per segment, and the ways to them; why they are there is said in `topology`.

use anyhow::Result;

use super::Lab;
use crate::topology::{BASTION, HOME_SERVER, SILENT};

impl Lab {
    /// Addresses beyond one per segment; see `topology`.
    pub(super) async fn extra_addresses(&self) -> Result<()> {
        let topology = &self.topology;
        let mut script = String::new();
        for segment in [&topology.lan_second, &topology.lan_unnamed] {
            let host = segment.host(HOME_SERVER);
            script += &format!(
                "ip addr add {}/24 dev eth0\nip addr add {}/64 dev eth0 nodad\n",
                host.v4, host.v6
            );
        }
        self.home_server.script(&script).await?;
        let silent = topology.wan.host(SILENT);
        self.meters
            .script(&format!(
                "ip addr add {}/24 dev eth0\n\
                 ip addr add {}/64 dev eth0 nodad preferred_lft 0\n\
                 nft 'table inet silent {{ chain input {{ type filter hook input priority filter; \
                 ip daddr {} udp dport 123 reject; ip6 daddr {} udp dport 123 reject; }}; }}'\n",
                silent.v4, silent.v6, silent.v4, silent.v6
            ))
            .await?;
        let foreign = topology.neighbour_foreign;
        let bastion = topology.dmz.host(BASTION);
        self.neighbour
            .script(&format!(
                "ip addr add {}/32 dev eth0\nip addr add {}/128 dev eth0 nodad\n\
                 ip route add {}/32 via {}\n\
                 # It tells the time, and answers under the address that was asked.\n\
                 nft 'table ip6 answers {{ chain output {{ type filter hook output priority raw; \
                 ip6 daddr {} udp sport 123 notrack ip6 saddr set {}; }}; }}'\n",
                foreign.v4,
                foreign.v6,
                topology.lan_unnamed.host(HOME_SERVER).v4,
                bastion.v4,
                bastion.v6,
                foreign.v6,
            ))
            .await?;
        self.bastion
            .script(&format!(
                "ip route add {}/32 dev eth0\nip -6 route add {}/128 dev eth0",
                foreign.v4, foreign.v6
            ))
            .await?;
        Ok(())
    }
}
