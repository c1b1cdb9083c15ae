use std::collections::VecDeque;

use crate::error::{Error, ErrorKind, Result};
use crate::time::{Monotonic, Now};

/// A connection as its protocol sees it: requests out, answers in.
pub(super) trait Talk {
    /// Takes bytes from the front of `input` up to what is to be acted on; `None` where it is used
    /// up. What is to be sent is appended to `out`.
    fn receive(
        &mut self,
        now: Now,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Happening>>;

    /// Appends a request that was due at `due` to `out`.
    fn request(&mut self, now: Now, due: Monotonic, out: &mut Vec<u8>) -> Result<()>;

    /// False until requests can be made.
    fn is_ready(&self) -> bool;

    /// Requests that are not answered.
    fn in_flight(&self) -> usize;
}

/// What the bytes of a server amount to.
pub(super) enum Happening {
    /// Requests can be made from now on.
    Ready,
    /// The request that was due then has its answer, or the server's refusal in words.
    Answered(Monotonic, Option<String>),
    /// TLS begins behind what was appended; then this is sent.
    StartTls(Vec<u8>),
}

/// Messages to a server that sends as many bytes back.
pub(super) struct Echo {
    message: Vec<u8>,
    waiting: VecDeque<Monotonic>,
    /// Bytes that are missing of the first answer.
    left: usize,
}

impl Echo {
    pub(super) fn new(len: usize) -> Self {
        Self {
            // A line, for servers that answer by the line.
            message: [&vec![b'.'; len - 1][..], b"\n"].concat(),
            waiting: VecDeque::new(),
            left: len,
        }
    }
}

impl Talk for Echo {
    fn receive(&mut self, _: Now, input: &mut &[u8], _: &mut Vec<u8>) -> Result<Option<Happening>> {
        if self.waiting.is_empty() && !input.is_empty() {
            let text = "the server sends what nobody asked for: is it one that echoes?";
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        let len = self.left.min(input.len());
        *input = &input[len..];
        self.left -= len;
        if self.left > 0 {
            return Ok(None);
        }
        self.left = self.message.len();
        let due = self.waiting.pop_front();
        Ok(due.map(|due| Happening::Answered(due, None)))
    }

    fn request(&mut self, _: Now, due: Monotonic, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.message);
        self.waiting.push_back(due);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_counted_by_bytes_whatever_the_pieces() {
        let (mut echo, mut out) = (Echo::new(4), Vec::new());
        for due in [1, 2] {
            let due = Monotonic::from_ns(due);
            echo.request(Now::default(), due, &mut out).unwrap();
        }
        assert_eq!(out, b"...\n...\n");
        let mut answered = Vec::new();
        for piece in [&b"..."[..], b"\n...", b"\n"] {
            let mut input = piece;
            while let Some(Happening::Answered(due, None)) =
                echo.receive(Now::default(), &mut input, &mut out).unwrap()
            {
                answered.push((due.as_ns(), piece.len()));
                if input.is_empty() {
                    break;
                }
            }
        }
        assert_eq!(answered, [(1, 4), (2, 1)]);
        assert!(
            echo.receive(Now::default(), &mut &b"."[..], &mut out)
                .is_err()
        );
    }
}
