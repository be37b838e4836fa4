//! A database that takes everything at once and keeps it, so that the collector is measured without
//! one; and giving the same requests to a real one, so that the database is measured without a
//! collector.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};

/// What was posted, each with its head as it came.
type Posted = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) struct Sink {
    pub(crate) port: u16,
    posted: Posted,
}

impl Sink {
    /// Takes requests for as long as the program runs.
    pub(crate) fn start() -> Result<Sink> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let posted = Posted::default();
        let kept = Arc::clone(&posted);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    // An error is the end of a connection, as its end is.
                    drop(take(stream, &kept));
                });
            }
        });
        Ok(Sink { port, posted })
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    /// The requests; from here on there are none.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.all())
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
fn take(stream: TcpStream, kept: &Posted) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    loop {
        let (mut request, length) = head(&mut requests)?;
        let begin = request.len();
        request.resize(begin + length, 0);
        requests.read_exact(request.get_mut(begin..).unwrap_or_default())?;
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
        answers.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}

/// The head of a request or of an answer, and how many bytes follow it.
fn head(stream: &mut BufReader<TcpStream>) -> Result<(Vec<u8>, usize)> {
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let begin = head.len();
        ensure!(stream.read_until(b'\n', &mut head)? > 0, "the end");
        let line = str::from_utf8(head.get(begin..).unwrap_or_default())?.trim();
        if line.is_empty() {
            return Ok((head, length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
}

/// Posts all requests over so many connections at once.
pub(crate) fn post(port: u16, requests: &[Vec<u8>], connections: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let posting: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| post_each(port, requests, &next)))
            .collect();
        for thread in posting {
            thread
                .join()
                .ok()
                .context("a thread of the bench broke")??;
        }
        Ok(())
    })
}

fn post_each(port: u16, requests: &[Vec<u8>], next: &AtomicUsize) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        stream.write_all(request)?;
        let (head, length) = head(&mut answers)?;
        answers.read_exact(&mut vec![0; length])?;
        ensure!(
            head.starts_with(b"HTTP/1.1 204"),
            "refused: {}",
            String::from_utf8_lossy(&head)
        );
    }
    Ok(())
}
