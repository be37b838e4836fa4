//! A bastion as the usual setup guide orders it: UFW with the guide's lines, as printed.

use anyhow::Result;

use crate::node::Node;

/// The guide's section on network isolation, line by line, in its order. The LAN in it is the
/// guide's own example; the lab's LAN lies in 10.0.0.0/8, which the guide denies as well.
pub const LINES: [&str; 9] = [
    "ufw default deny incoming",
    "ufw default deny outgoing",
    "ufw allow 1883/tcp",
    "ufw allow out 53",
    "ufw allow out 80",
    "ufw allow out 443",
    "ufw deny out to 192.168.1.0/24",
    "ufw deny out to 10.0.0.0/8",
    "ufw deny out to 172.16.0.0/12",
];

/// Follows the guide to the letter.
///
/// # Errors
/// When UFW refuses a line.
pub async fn follow(node: &Node) -> Result<()> {
    // Docker mounts /proc/sys for reading only, and UFW wants to set kernel parameters there;
    // they have nothing to do with what is allowed.
    let script = format!(
        "sed -i 's/^IPT_SYSCTL=/#&/' /etc/default/ufw\n{}\nufw --force enable",
        LINES.join("\n")
    );
    node.script(&script).await?;
    Ok(())
}
