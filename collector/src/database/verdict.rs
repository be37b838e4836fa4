//! What an answer of the write API means for the lines that were sent. Source: the behaviour of
//! InfluxDB 1.x's `/write`, and of others that offer the same.

use serde::Deserialize;

/// What becomes of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All are in the database.
    Written,
    /// Some line is bad, or there are too many for one request: send fewer. A single line that
    /// gets this answer is refused for good.
    Split {
        /// In the database's words.
        reason: String,
    },
    /// The lines are not to blame: send them again later.
    Later {
        /// What the database says.
        problem: String,
        /// What a person can do.
        remedy: &'static str,
    },
}

/// How InfluxDB says what is wrong.
#[derive(Deserialize)]
struct Complaint {
    error: String,
}

/// Judges an answer by its status and body.
///
/// Only 204 means written: a 200 is the answer of some other server. Only a complaint in the
/// database's own form condemns a line, since a proxy in front answers 400 as well, and lines
/// must not be given up for its sake.
#[must_use]
pub fn verdict(status: u16, body: &[u8]) -> Verdict {
    let complaint = serde_json::from_slice::<Complaint>(body).ok();
    let problem = match &complaint {
        Some(complaint) => format!("{status}: {}", complaint.error),
        None => format!("{status}: {}", shown(body)),
    };
    let remedy = match (status, complaint) {
        (204, _) => return Verdict::Written,
        // 400: unreadable lines, wrong types, lines beyond the database's limits; all others were
        // written. 422: the same in later versions.
        (400 | 422, Some(Complaint { error: reason })) => return Verdict::Split { reason },
        (413, _) => return Verdict::Split { reason: problem },
        (401 | 403, _) => {
            "give [database] a user and password_file that may write, or grant the user WRITE"
        }
        (404, _) => "create the database, or correct [database] name and url",
        (408 | 429 | 500..=599, _) => "the database is overloaded or broken; look at its log",
        _ => "this is no answer of an InfluxDB 1.x; correct [database] url",
    };
    Verdict::Later { problem, remedy }
}

fn shown(body: &[u8]) -> String {
    const SHOWN: usize = 120;
    let start = body.get(..SHOWN).unwrap_or(body);
    String::from_utf8_lossy(start).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected`: "written", "split: " with the reason, or "later: " with the problem.
    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        let said = match verdict(status, body.as_bytes()) {
            Verdict::Written => "written".to_owned(),
            Verdict::Split { reason } => format!("split: {reason}"),
            Verdict::Later { problem, .. } => format!("later: {problem}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn only_204_is_written() {
        check(204, "", "written");
        check(200, "<html>", "later: 200: <html>");
        check(302, "", "later: 302: ");
    }

    #[test]
    fn a_complaint_of_the_database_splits() {
        check(
            400,
            r#"{"error":"partial write: field type conflict dropped=1"}"#,
            "split: partial write: field type conflict dropped=1",
        );
        check(
            400,
            r#"{"error":"unable to parse 'x'"}"#,
            "split: unable to parse 'x'",
        );
        check(422, r#"{"code":"x","error":"too old"}"#, "split: too old");
        check(413, "", "split: 413: ");
    }

    #[test]
    fn a_400_of_something_else_condemns_no_line() {
        check(
            400,
            "<h1>Bad Request</h1>",
            "later: 400: <h1>Bad Request</h1>",
        );
        check(400, r#""text""#, r#"later: 400: \"text\""#);
    }

    #[test]
    fn all_else_is_tried_again() {
        check(
            404,
            r#"{"error":"database not found: \"energy\""}"#,
            "later: 404: database not found: \"energy\"",
        );
        check(
            401,
            r#"{"error":"authorization failed"}"#,
            "later: 401: authorization failed",
        );
        check(403, "", "later: 403: ");
        check(408, "", "later: 408: ");
        check(429, "", "later: 429: ");
        check(500, r#"{"error":"timeout"}"#, "later: 500: timeout");
        check(503, "", "later: 503: ");
        check(418, "", "later: 418: ");
    }
}
