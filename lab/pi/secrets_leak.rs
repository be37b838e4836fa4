//! No secret is seen while deploying: not in the command lines of either machine, not in what is
//! said or logged, not in a file that others may read. Planted ones are found.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use deploy::Secrets;
use site::account::Account;

use crate::deployed::{DEPLOYED, LATER, change_site, one_more_meter, site_of, well};
use crate::stage::{Scenario, Stage, scenario};

const LONG: Duration = Duration::from_secs(300);

/// Collects every command line, until told to stop. Its own file is root's alone. It starts no program
/// for a look: one for each process would make a round of the machine take seconds, in which many
/// programs come and go.
const WATCH: &str = "
umask 077
rm -f /run/watch.stop /run/watch.seen
cat > /run/watch.sh <<'PROGRAM'
while [ ! -e /run/watch.stop ]; do
    for file in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words < $file && printf '%s\\n' \"${words[*]}\"
    done 2>/dev/null
done | awk '!seen[$0]++' > /run/watch.seen
PROGRAM
systemd-run --quiet --collect --unit=lab-watch --nice=10 bash /run/watch.sh";

/// What is to be found comes in a file, and is looked for in files only.
const LOOK: &str = "
touch /run/watch.stop
until ! systemctl is-active --quiet lab-watch; do sleep 0.2; done
found() { grep -F -c -f /run/secrets-to-find && echo \"found in $1\"; }
found 'command lines' < /run/watch.seen
journalctl --no-pager -q -b -o cat | found 'the journal'
find / -xdev -path /proc -prune -o -type f -perm -o=r -size -20M -print0 > /run/to-read
find /run /tmp /var/tmp /dev/shm -type f -perm -o=r -print0 2>/dev/null >> /run/to-read
xargs -0 -r grep -l -F -f /run/secrets-to-find < /run/to-read 2>/dev/null | sed 's/^/found in /'
tr -cd '\\0' < /run/to-read | wc -c
wc -l < /run/watch.seen";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!("pi::no_secret_leaks", from DEPLOYED, leaks).only_in_full()]
}

async fn leaks(stage: &Stage) -> Result<String> {
    let access = stage.again("leaks").await?;
    change_site(&access, |text| one_more_meter(text, "shellyem-D3FFF4"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || watch_here(&stop)
    });
    stage.machine().at_console(WATCH).await?;
    let rotated = site_of(&access)?
        .0
        .meters
        .first()
        .context("no meter")?
        .id
        .clone();
    let output = stage.deploy(&access, &["--rotate", &rotated], LATER).await;
    let shown = stage.deployer(&access, &["status"], LATER).await;
    stop.store(true, Ordering::SeqCst);
    let here = watcher
        .join()
        .map_err(|_| anyhow::anyhow!("the watcher of command lines broke off"))?;
    let output = well(output?, "deploying")?;
    let shown = well(shown?, "asking for the status")?;
    let secrets = all_secrets(stage, &access).await?;

    ensure!(
        here.iter()
            .any(|line| line.contains("ssh") && line.contains("lab-pi")),
        "proves nothing: the command lines of this machine were not seen"
    );
    let said = [&output.stdout, &output.stderr, &shown.stdout, &shown.stderr]
        .map(String::as_str)
        .join("\n");
    let here = here.into_iter().collect::<Vec<_>>().join("\n");
    for secret in &secrets {
        ensure!(
            !said.contains(secret.as_str()),
            "promise broken: a secret is shown"
        );
        ensure!(
            !here.contains(secret.as_str()),
            "promise broken: a secret is in a command line on the operator's machine"
        );
    }
    let readable = readable_with(&access.folder, &secrets)?;
    ensure!(
        readable.is_empty(),
        "promise broken: others may read secrets in {readable:?}"
    );
    let there = look(stage, &secrets).await?;
    ensure!(
        !there.contains("found in"),
        "promise broken: on the bastion a secret is {there}"
    );
    let counts: Vec<&str> = there.split_whitespace().collect();

    // Its twin: what is planted is found, in each place.
    planted(stage, &access.folder, &secrets).await?;
    Ok(format!(
        "{} secrets; looked for in {} files that others may read, {} command lines there, {} here, the journal and \
         all that was shown; planted in four places, found in four",
        secrets.len(),
        counts.iter().rev().nth(1).unwrap_or(&"?"),
        counts.last().unwrap_or(&"?"),
        here.lines().count()
    ))
}

/// Passwords in clear, old and new, and the hashes that the broker keeps.
async fn all_secrets(
    stage: &Stage,
    access: &lab::virtual_pi::access::Access,
) -> Result<BTreeSet<String>> {
    let (site, secrets) = site_of(access)?;
    let first = &stage.first().await?.access;
    let before = Secrets::load(&Secrets::path_beside(&first.site()))?;
    let mut found = BTreeSet::new();
    for account in Account::all(&site) {
        found.insert(secrets.password(&account.name)?.expose().to_owned());
        if let Ok(old) = before.password(&account.name) {
            found.insert(old.expose().to_owned());
        }
        let line = secrets.passwd_line(&account.name)?;
        let hash = line
            .rsplit('$')
            .next()
            .context("a password line has no hash")?;
        found.insert(hash.to_owned());
    }
    ensure!(found.len() > 10, "there are only {} secrets", found.len());
    Ok(found)
}

/// Looks on the bastion; what is to be found lies there for root alone while it lasts.
async fn look(stage: &Stage, secrets: &BTreeSet<String>) -> Result<String> {
    let list: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let script = format!(
        "umask 077; chmod 0600 /run/lab-console.sh /run/lab-console.out 2>/dev/null
cat > /run/secrets-to-find <<'SECRETS'
{}
SECRETS
{LOOK}
rm -f /run/secrets-to-find",
        list.join("\n")
    );
    stage.machine().console(&script, LONG).await?.success()
}

async fn planted(stage: &Stage, folder: &Path, secrets: &BTreeSet<String>) -> Result<()> {
    let one = secrets.first().context("there is no secret")?;
    let script = format!(
        "{WATCH}
        chmod 0600 /run/lab-console.sh
        echo {one} > /var/tmp/planted; chmod 0644 /var/tmp/planted
        logger -t lab planted {one}
        bash -c 'sleep 3; true' {one}; sync; journalctl --sync"
    );
    stage.machine().console(&script, LONG).await?.success()?;
    let found = look(stage, secrets).await?;
    for place in ["command lines", "the journal", "/var/tmp/planted"] {
        ensure!(
            found.contains(&format!("found in {place}")),
            "proves nothing: a secret planted in {place} is not found: {found}"
        );
    }
    let file = folder.join("planted");
    fs::write(&file, one).context("planting")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).context("planting")?;
    ensure!(
        readable_with(folder, secrets)?.len() == 1,
        "proves nothing: a secret planted here is not found"
    );
    Ok(())
}

/// Files of a folder that others may read and that hold a secret.
fn readable_with(folder: &Path, secrets: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.context("reading a folder")?.path();
        let about =
            fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?;
        if !about.is_file() || about.permissions().mode() & 0o044 == 0 {
            continue;
        }
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let text = String::from_utf8_lossy(&content);
        if secrets.iter().any(|secret| text.contains(secret.as_str())) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

/// Every command line on this machine until told to stop.
fn watch_here(stop: &AtomicBool) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !stop.load(Ordering::SeqCst) {
        let Ok(processes) = fs::read_dir("/proc") else {
            break;
        };
        for process in processes.flatten() {
            if let Ok(line) = fs::read(process.path().join("cmdline"))
                && !line.is_empty()
            {
                seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    seen
}
