//! What a meter published: topic and payload with memory of their own.

/// Topic and payload in one piece of memory, since there are many of them.
#[derive(Debug, Clone)]
pub struct Publication {
    bytes: Box<[u8]>,
    topic: usize,
}

impl Publication {
    /// A copy. What a network library hands over shares a read buffer, which would stay alive.
    #[must_use]
    pub fn new(topic: &str, payload: &[u8]) -> Publication {
        Publication {
            bytes: [topic.as_bytes(), payload].concat().into(),
            topic: topic.len(),
        }
    }

    /// Topic and payload.
    #[must_use]
    pub fn parts(&self) -> (&str, &[u8]) {
        let (topic, payload) = self.bytes.split_at_checked(self.topic).unwrap_or_default();
        // It was made of a text.
        (str::from_utf8(topic).unwrap_or_default(), payload)
    }
}

#[cfg(test)]
mod tests {
    use super::Publication;

    #[test]
    fn topic_and_payload_come_back_apart() {
        for (topic, payload) in [("a/ü", &b"\xff/b"[..]), ("", b"x"), ("a", b"")] {
            assert_eq!(Publication::new(topic, payload).parts(), (topic, payload));
        }
    }
}
