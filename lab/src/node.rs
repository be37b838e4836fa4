//! One machine of the lab: a container that does nothing by itself, with fixed addresses.
//! Programs are started in it; what kind of machine it becomes is decided in `roles`.

use std::mem::ManuallyDrop;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{
    DeviceMapping, EndpointIpamConfig, EndpointSettings, NetworkConnectRequest,
    NetworkDisconnectRequest,
};
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use futures_util::StreamExt as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};

use crate::engine::{Engine, NODE_LABEL};

/// Where a machine is plugged in: the network's full name, and the machine's addresses there.
#[derive(Debug, Clone)]
pub struct Plug {
    /// Full name of the network.
    pub network: String,
    /// At most one per family.
    pub addresses: Vec<IpAddr>,
}

/// A file to put into a machine.
pub struct Upload {
    /// Absolute path there.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What is in it.
    pub content: Vec<u8>,
}

/// What few machines need of the host.
#[derive(Debug, Clone, Default)]
pub struct Loans {
    /// A folder of the host, and where the machine sees it, read-only.
    pub folder: Option<(PathBuf, &'static str)>,
    /// A device of the host, under the same name.
    pub device: Option<&'static str>,
    /// Room in `/dev/shm`, a file system in memory, in bytes.
    pub memory: Option<i64>,
    /// Its share of a busy processor; an ordinary machine, or process, has 1024.
    pub share: Option<i64>,
}

/// What a program said, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code.
    pub code: i64,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Its standard output, if it ended well.
    ///
    /// # Errors
    /// When its exit code is not 0; the message carries what it said.
    pub fn success(self) -> Result<String> {
        ensure!(
            self.code == 0,
            "exit code {}: {}{}",
            self.code,
            self.stderr,
            self.stdout
        );
        Ok(self.stdout)
    }
}

/// A running machine. It stands until the lab is swept, whatever becomes of this value.
pub struct Node {
    /// Its name within the lab.
    pub name: String,
    engine: Engine,
    id: String,
    /// Never dropped: dropping would remove each container by itself, one after the other, and
    /// a lab that is kept must stay. Removing is left to `sweep`, which needs no value to live.
    _container: ManuallyDrop<ContainerAsync<GenericImage>>,
}

impl Node {
    /// Starts a machine from an image `name:tag`, and plugs it in. It never has another network.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn start(engine: &Engine, name: &str, image: &str, plugs: &[Plug]) -> Result<Node> {
        Node::start_with(engine, name, image, plugs, Loans::default()).await
    }

    /// As [`Node::start`], and lends the machine something of the host's.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn start_with(
        engine: &Engine,
        name: &str,
        image: &str,
        plugs: &[Plug],
        loans: Loans,
    ) -> Result<Node> {
        let binds = loans
            .folder
            .map(|(from, to)| vec![format!("{}:{to}:ro", from.display())]);
        let devices = loans.device.map(|device| {
            vec![DeviceMapping {
                path_on_host: Some(device.to_owned()),
                path_in_container: Some(device.to_owned()),
                cgroup_permissions: Some("rwm".to_owned()),
            }]
        });
        let (repository, tag) = image
            .rsplit_once(':')
            .with_context(|| format!("image {image} has no tag"))?;
        let container = GenericImage::new(repository, tag)
            .with_entrypoint("sleep")
            .with_cmd(["infinity"])
            .with_container_name(format!("{}-{name}", engine.name))
            .with_hostname(name)
            .with_labels(engine.labels())
            .with_label(NODE_LABEL, name)
            // For routes and rules; programs that are judged run as ordinary users without it.
            .with_cap_add("NET_ADMIN")
            .with_host_config_modifier(move |host| {
                host.binds.clone_from(&binds);
                host.devices.clone_from(&devices);
                host.shm_size = loans.memory;
                host.cpu_shares = loans.share;
                host.network_mode = Some("none".to_owned());
                // Reaps what the programs in the machine leave behind.
                host.init = Some(true);
                let on = |key: &str| (key.to_owned(), "1".to_owned());
                let off = |key: &str| (key.to_owned(), "0".to_owned());
                host.sysctls = Some(
                    [
                        on("net.ipv4.ip_forward"),
                        on("net.ipv6.conf.all.forwarding"),
                        off("net.ipv6.conf.all.disable_ipv6"),
                        off("net.ipv6.conf.default.accept_dad"),
                        // A redirect would teach a machine a way around the one it is asked to try.
                        off("net.ipv4.conf.all.send_redirects"),
                        off("net.ipv4.conf.default.send_redirects"),
                        off("net.ipv6.conf.default.accept_redirects"),
                    ]
                    .into(),
                );
            })
            .start()
            .await
            .with_context(|| format!("starting machine {name}"))?;
        let id = container.id().to_owned();
        let container = ManuallyDrop::new(container);
        let node = Node {
            name: name.to_owned(),
            engine: engine.clone(),
            id,
            _container: container,
        };
        node.plug_in(plugs)
            .await
            .with_context(|| format!("plugging in machine {name}"))?;
        Ok(node)
    }

    async fn plug_in(&self, plugs: &[Plug]) -> Result<()> {
        let docker = &self.engine.docker;
        let out = NetworkDisconnectRequest {
            container: self.id.clone(),
            force: Some(true),
        };
        docker.disconnect_network("none", out).await?;
        for plug in plugs {
            let address = |v4: bool| {
                plug.addresses
                    .iter()
                    .find(|address| address.is_ipv4() == v4)
                    .map(IpAddr::to_string)
            };
            let settings = EndpointSettings {
                ipam_config: Some(EndpointIpamConfig {
                    ipv4_address: address(true),
                    ipv6_address: address(false),
                    ..EndpointIpamConfig::default()
                }),
                ..EndpointSettings::default()
            };
            let request = NetworkConnectRequest {
                container: self.id.clone(),
                endpoint_config: Some(settings),
            };
            docker
                .connect_network(&plug.network, request)
                .await
                .with_context(|| format!("network {}", plug.network))?;
        }
        Ok(())
    }

    /// Runs a program as `user` and waits for its end. No shell, so nothing needs quoting.
    ///
    /// # Errors
    /// When it cannot be started. A program that ends badly is no error here.
    pub async fn exec(&self, user: &str, command: &[&str]) -> Result<Output> {
        let what = || {
            format!(
                "running {} on {}",
                command.first().unwrap_or(&""),
                self.name
            )
        };
        let docker = &self.engine.docker;
        let exec = docker
            .create_exec(&self.id, self.options(user, command, true))
            .await
            .with_context(what)?;
        let StartExecResults::Attached { mut output, .. } =
            docker.start_exec(&exec.id, None).await.with_context(what)?
        else {
            bail!("{}: the engine did not attach", what());
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(part) = output.next().await {
            match part.with_context(what)? {
                LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    stdout.extend_from_slice(&message)
                }
                LogOutput::StdIn { .. } => {}
            }
        }
        let ended = docker.inspect_exec(&exec.id).await.with_context(what)?;
        Ok(Output {
            code: ended
                .exit_code
                .with_context(|| format!("{}: no exit code", what()))?,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    /// Runs a program as root; anything but exit code 0 is an error.
    ///
    /// # Errors
    /// When it cannot be started or ends badly.
    pub async fn run(&self, command: &[&str]) -> Result<String> {
        let output = self.exec("root", command).await?;
        output
            .success()
            .with_context(|| format!("{} on {}", command.join(" "), self.name))
    }

    /// Runs a script of `sh` as root; the first command that fails ends it.
    ///
    /// # Errors
    /// When a command of it ends badly.
    pub async fn script(&self, script: &str) -> Result<String> {
        let output = self.exec("root", &["sh", "-ec", script]).await?;
        output
            .success()
            .with_context(|| format!("a script on {}:\n{script}\n", self.name))
    }

    /// Starts a program as root and leaves it running; what it says goes to `/var/log/NAME.log`, its
    /// number to `/run/NAME.pid`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn spawn(&self, name: &str, command: &[&str]) -> Result<()> {
        let log = format!("echo $$ >/run/{name}.pid; exec \"$@\" >>/var/log/{name}.log 2>&1");
        let mut words = vec!["sh", "-c", &log, name];
        words.extend_from_slice(command);
        let docker = &self.engine.docker;
        let what = || format!("starting {name} on {}", self.name);
        let exec = docker
            .create_exec(&self.id, self.options("root", &words, false))
            .await
            .with_context(what)?;
        let detached = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        docker
            .start_exec(&exec.id, Some(detached))
            .await
            .with_context(what)?;
        Ok(())
    }

    /// Ends a program that was started with [`Node::spawn`], by a signal such as `KILL`, and waits
    /// until it is gone.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn end(&self, name: &str, signal: &str) -> Result<()> {
        self.script(&format!(
            "pid=$(cat /run/{name}.pid)
             kill -{signal} $pid
             for i in $(seq 300); do
                 case $(cut -d' ' -f3 /proc/$pid/stat 2>/dev/null) in ''|Z) exit 0;; esac
                 sleep 0.05
             done
             exit 1"
        ))
        .await
        .map(drop)
    }

    /// Puts files into the machine, owned by root. Folders on the way are made.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn upload(&self, files: &[Upload]) -> Result<()> {
        let mut archive = tar::Builder::new(Vec::new());
        for file in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(file.mode);
            header.set_size(u64::try_from(file.content.len()).context("file size")?);
            header.set_uid(0);
            header.set_gid(0);
            let path = file.path.trim_start_matches('/');
            archive
                .append_data(&mut header, path, file.content.as_slice())
                .context("packing files")?;
        }
        let bytes = archive.into_inner().context("packing files")?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let body = bollard::body_full(bytes.into());
        self.engine
            .docker
            .upload_to_container(&self.id, Some(options), body)
            .await
            .with_context(|| format!("putting files into {}", self.name))
    }

    fn options(&self, user: &str, command: &[&str], attach: bool) -> CreateExecOptions<String> {
        CreateExecOptions {
            attach_stdout: Some(attach),
            attach_stderr: Some(attach),
            user: Some(user.to_owned()),
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            ..CreateExecOptions::default()
        }
    }
}
