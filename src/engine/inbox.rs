use std::ops::Range;

use super::fifo::{Fifo, Fifos};
use super::io::Io;
use super::lease::Lease;
use crate::buf::Buf;
use crate::conn::{Connection, Data};
use crate::error::Result;

/// What one connection received and the application has not read.
///
/// Records are opened one ahead of the reader: `plain` lies in the first chunk (or in the
/// connection), and what lies behind `opened` there and in the other chunks is still as it came
/// from the socket.
///
/// Its memory is bounded by what two cycles can bring, one that leaves something unread and one
/// more until the receive has stopped: each brings at most the back end's receive buffers,
/// `recv_buf_count * recv_buf_len` bytes, for all connections together.
#[derive(Default)]
pub(super) struct Inbox {
    chunks: Fifo,
    /// Chunks whose memory is the back end's.
    lent: usize,
    /// Bytes of the first chunk that the connection is done with.
    opened: usize,
    plain: Plain,
}

/// Received bytes, plaintext where they have been opened.
pub(super) enum Chunk {
    /// In memory of the back end.
    Lent(Lease),
    /// In memory of the engine.
    Own(Buf),
}

/// Where the plaintext lies that is read next.
#[derive(Default)]
enum Plain {
    #[default]
    None,
    /// In the first chunk.
    Input(Range<usize>),
    /// In the connection, which holds this much that has been read and then the rest.
    Held { read: usize },
    /// All of it has been read, and the connection still holds its memory.
    HeldSpent,
}

impl Inbox {
    pub(super) fn push(&mut self, lease: Lease, io: &mut Io) {
        self.lent += 1;
        io.chunks.push(&mut self.chunks, Chunk::Lent(lease));
    }

    /// True where nothing is left: neither plaintext nor bytes to be opened.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_plain() && self.chunks.is_empty()
    }

    pub(super) fn has_plain(&self) -> bool {
        matches!(self.plain, Plain::Input(_) | Plain::Held { .. })
    }

    /// The plaintext that is read next.
    pub(super) fn plain<'a>(&self, conn: &'a Connection, chunks: &'a Fifos<Chunk>) -> &'a [u8] {
        match &self.plain {
            Plain::None | Plain::HeldSpent => &[],
            Plain::Input(range) => chunks
                .front(&self.chunks)
                .map_or(&[], |chunk| &chunk.bytes()[range.clone()]),
            Plain::Held { read } => &conn.held()[*read..],
        }
    }

    /// Counts `len` bytes of plaintext as read, and says whether that was the rest of it.
    pub(super) fn consume(&mut self, len: usize, conn: &Connection) -> bool {
        match &mut self.plain {
            Plain::None | Plain::HeldSpent => return false,
            Plain::Input(range) => {
                range.start += len.min(range.end - range.start);
                if range.start < range.end {
                    return false;
                }
                self.plain = Plain::None;
            }
            Plain::Held { read } => {
                let held = conn.held().len();
                *read += len.min(held - *read);
                if *read < held {
                    return false;
                }
                self.plain = Plain::HeldSpent;
            }
        }
        true
    }

    /// Opens records until there is plaintext or nothing is left to open. Says how many bytes came
    /// behind the end of the peer's stream, and were dropped.
    pub(super) fn open(&mut self, conn: &mut Connection, io: &mut Io) -> Result<usize> {
        let mut dropped = 0;
        while !self.has_plain() {
            let Some(chunk) = io.chunks.front_mut(&self.chunks) else {
                self.let_go(conn, io)?;
                break;
            };
            let input = &mut chunk.bytes_mut()[self.opened..];
            if input.is_empty() || conn.is_peer_closed() {
                dropped += input.len();
                self.drop_first(io);
                continue;
            }
            let done = conn.handle_recv(io.now, input, &mut io.pools)?;
            self.plain = match done.data {
                Data::Input(range) if !range.is_empty() => {
                    Plain::Input(self.opened + range.start..self.opened + range.end)
                }
                Data::Held if !conn.held().is_empty() => Plain::Held { read: 0 },
                Data::None | Data::Input(_) | Data::Held => Plain::None,
            };
            self.opened += done.consumed;
        }
        Ok(dropped)
    }

    /// Takes plaintext that was not read for what it was before it was opened, on a connection
    /// whose plaintext is its input: the connection reads it otherwise from now on.
    pub(super) fn unread(&mut self) {
        if let Plain::Input(range) = std::mem::take(&mut self.plain) {
            self.opened = range.start;
        }
    }

    /// Moves what is left out of the back end's memory, which is scarce and shared, into the
    /// engine's.
    pub(super) fn keep(&mut self, io: &mut Io) {
        if self.lent == 0 {
            return;
        }
        let mut kept = Fifo::default();
        while let Some(chunk) = io.chunks.pop(&mut self.chunks) {
            match chunk {
                Chunk::Own(_) => io.chunks.push(&mut kept, chunk),
                Chunk::Lent(lease) => {
                    let done = if kept.is_empty() { self.trim() } else { 0 };
                    copy(&lease.bytes()[done..], &mut kept, io);
                    io.backend.recycle(lease);
                }
            }
        }
        self.chunks = kept;
        self.lent = 0;
    }

    /// Drops all of it.
    pub(super) fn clear(&mut self, io: &mut Io) {
        self.plain = Plain::None;
        while !self.chunks.is_empty() {
            self.drop_first(io);
        }
    }

    /// Has the connection give back the memory of what was read: an idle one holds none.
    fn let_go(&mut self, conn: &mut Connection, io: &mut Io) -> Result<()> {
        if matches!(self.plain, Plain::HeldSpent) {
            self.plain = Plain::None;
            conn.handle_recv(io.now, &mut [], &mut io.pools)?;
        }
        Ok(())
    }

    /// Counts the first chunk from where it is still needed, and says where that is.
    fn trim(&mut self) -> usize {
        let done = match &self.plain {
            Plain::Input(range) => range.start,
            _ => self.opened,
        };
        if let Plain::Input(range) = &mut self.plain {
            *range = 0..range.len();
        }
        self.opened -= done;
        done
    }

    fn drop_first(&mut self, io: &mut Io) {
        self.opened = 0;
        match io.chunks.pop(&mut self.chunks) {
            Some(Chunk::Lent(lease)) => {
                self.lent -= 1;
                io.backend.recycle(lease);
            }
            Some(Chunk::Own(buf)) => io.backlog.give(buf),
            None => {}
        }
    }
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Lent(lease) => lease.bytes(),
            Self::Own(buf) => buf.filled(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Lent(lease) => lease.bytes_mut(),
            Self::Own(buf) => buf.filled_mut(),
        }
    }
}

/// Copies `bytes` behind what `kept` holds.
fn copy(mut bytes: &[u8], kept: &mut Fifo, io: &mut Io) {
    while !bytes.is_empty() {
        let copied = match io.chunks.back_mut(kept) {
            Some(Chunk::Own(buf)) => buf.append(bytes),
            _ => 0,
        };
        bytes = &bytes[copied..];
        if copied == 0 {
            let buf = io.backlog.take();
            io.chunks.push(kept, Chunk::Own(buf));
        }
    }
}
