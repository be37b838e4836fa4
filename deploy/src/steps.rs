//! What a person sees while it runs: one line per step with the time it took, and a spinner on a
//! terminal. Questions are here too. Results are left to standard output and to others.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::shown;

/// The steps of a run.
#[derive(Debug, Clone)]
pub struct Steps {
    live: bool,
    yes: bool,
}

impl Steps {
    /// `yes` answers what may be answered beforehand.
    #[must_use]
    pub fn new(yes: bool) -> Steps {
        Steps {
            live: io::stderr().is_terminal(),
            yes,
        }
    }

    /// Begins a step.
    #[must_use]
    pub fn begin(&self, name: &'static str) -> Step {
        let spinner = if self.live {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) =
                ProgressStyle::with_template("{elapsed:>8} {spinner} {prefix:<9} {wide_msg}")
            {
                spinner.set_style(style);
            }
            spinner.set_prefix(name);
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        } else {
            ProgressBar::hidden()
        };
        Step {
            name,
            start: Instant::now(),
            spinner,
            open: true,
        }
    }

    /// A remark between steps, safe to show.
    pub fn remark(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Whether the plan may be carried out.
    ///
    /// # Errors
    /// When there is nobody to ask.
    pub async fn may(&self, question: &str) -> Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            bail!(
                "nobody is there to ask `{question}`: say --yes to go ahead, or --dry-run to look"
            );
        }
        let answer = ask(format!("{question} [y/N] ")).await?;
        Ok(matches!(answer.as_str(), "y" | "Y" | "yes"))
    }

    /// Asks for a word to be typed; `--yes` does not answer it.
    ///
    /// # Errors
    /// When there is nobody to ask.
    pub async fn typed(&self, question: &str, word: &str) -> Result<bool> {
        if !io::stdin().is_terminal() {
            bail!(
                "nobody is there to ask `{question}`: this is not answered by --yes, run it in a terminal"
            );
        }
        Ok(ask(format!("{question} Type `{word}`: ")).await? == word)
    }
}

async fn ask(question: String) -> Result<String> {
    // Reading a terminal cannot be given up, so it happens beside the runtime.
    tokio::task::spawn_blocking(move || {
        eprint!("{question}");
        io::stderr().flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok::<_, io::Error>(line.trim().to_owned())
    })
    .await
    .context("asking")?
    .context("reading the answer")
}

/// A step under way. Dropped before its end, it has failed.
pub struct Step {
    name: &'static str,
    start: Instant,
    spinner: ProgressBar,
    open: bool,
}

impl Step {
    /// Says what it is at; seen on a terminal only.
    pub fn at(&self, hostile: &str) {
        self.spinner.set_message(shown::line(hostile));
    }

    /// Ends it well.
    pub fn done(mut self, detail: &str) {
        self.line(detail);
    }

    fn line(&mut self, detail: &str) {
        self.open = false;
        self.spinner.finish_and_clear();
        let seconds = self.start.elapsed().as_secs_f64();
        let (name, detail) = (self.name, shown::line(detail));
        eprintln!("[{seconds:6.1} s] {name:<9} {detail}");
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.open {
            self.line("failed");
        }
    }
}
