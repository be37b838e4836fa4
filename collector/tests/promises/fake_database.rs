//! Just enough of InfluxDB 1.x's `/write` to take lines and to misbehave.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the next request meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// This status, and nothing is stored.
    Status(u16),
    /// Nothing is stored, and the connection closed without an answer.
    Close,
    /// Everything is stored, and the connection closed without an answer.
    StoreAndClose,
}

#[derive(Default)]
struct State {
    next: VecDeque<Answer>,
    always: Option<Answer>,
    most_lines: usize,
    lines: Vec<String>,
    heads: Vec<String>,
}

/// What no line may hold: a word, and a value that meets a field of another type.
const REFUSED: [&str; 2] = ["bad", "voltage_v=666"];

/// A database on a free port. Lines with one of [`REFUSED`] are refused, and the others of the
/// request stored, as InfluxDB does it.
#[derive(Clone)]
pub(crate) struct FakeDatabase {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl FakeDatabase {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            most_lines: usize::MAX,
            ..State::default()
        }));
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { url, state }
    }

    /// What the next requests meet, one after the other.
    pub(crate) fn then(&self, answers: &[Answer]) {
        self.state.lock().unwrap().next.extend(answers);
    }

    /// What all requests meet until further notice.
    pub(crate) fn always(&self, answer: Option<Answer>) {
        self.state.lock().unwrap().always = answer;
    }

    /// Requests with more lines are too large.
    pub(crate) fn at_most(&self, lines: usize) {
        self.state.lock().unwrap().most_lines = lines;
    }

    /// All lines stored, in the order of arrival.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.state.lock().unwrap().lines.clone()
    }

    /// Start line and headers of all requests.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some((head, text)) = request(&mut stream).await {
        let (status, body) = {
            let mut state = state.lock().unwrap();
            state.heads.push(head);
            let answer = state.next.pop_front().or(state.always);
            match answer {
                Some(Answer::Close) => return,
                Some(Answer::StoreAndClose) => {
                    state.lines.extend(text.lines().map(str::to_owned));
                    return;
                }
                Some(Answer::Status(status)) => (status, String::new()),
                None => store(&mut state, &text),
            }
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn store(state: &mut State, text: &str) -> (u16, String) {
    if text.lines().count() > state.most_lines {
        return (413, String::new());
    }
    let (bad, good): (Vec<&str>, Vec<&str>) = text
        .lines()
        .partition(|line| REFUSED.iter().any(|word| line.contains(word)));
    state.lines.extend(good.into_iter().map(str::to_owned));
    match bad.first() {
        None => (204, String::new()),
        Some(line) => {
            let error = format!("partial write: unable to parse '{line}'");
            (400, serde_json::json!({ "error": error }).to_string())
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let mut text = String::new();
    GzDecoder::new(body.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    Some((head, text))
}
