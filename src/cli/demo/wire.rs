use std::io::{self, Read, Write};
use std::net::TcpStream;

/// A socket that counts its sends, with a copy of what passes while it is tapped.
pub(super) struct Wire {
    socket: TcpStream,
    tap: Option<Vec<u8>>,
    sends: u64,
}

/// What a listener on the wire would have read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readable {
    pub(super) messages: usize,
    pub(super) of: usize,
}

impl Wire {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            tap: None,
            sends: 0,
        }
    }

    /// Calls into the kernel that sent something.
    pub(super) fn sends(&self) -> u64 {
        self.sends
    }

    /// Copies from now on.
    pub(super) fn tap(&mut self) {
        self.tap = Some(Vec::new());
    }

    /// Ends the copy, and looks for the marker in it.
    pub(super) fn markers(&mut self) -> usize {
        let seen = self.tap.take().unwrap_or_default();
        seen.windows(MARKER.len())
            .filter(|window| *window == MARKER)
            .count()
    }
}

impl Read for Wire {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let len = self.socket.read(target)?;
        if let Some(tap) = &mut self.tap {
            tap.extend_from_slice(&target[..len]);
        }
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.socket.write(data)?;
        self.sends += 1;
        if let Some(tap) = &mut self.tap {
            tap.extend_from_slice(&data[..len]);
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// What is sent and comes back in every request: it begins with the marker.
pub(super) fn value() -> [u8; VALUE_LEN] {
    let mut value = [b'.'; VALUE_LEN];
    value[..MARKER.len()].copy_from_slice(MARKER);
    value
}

/// Length of that, in bytes.
pub(super) const VALUE_LEN: usize = 200;

/// What is looked for on the wire.
const MARKER: &[u8] = b"the balance of account 4711";
