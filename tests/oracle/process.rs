//! Child processes, and a blocking socket under a `Connection`.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sealwire::error::Result;

use crate::support::{End, NOW};

/// Says why a test does nothing; a failure where nothing may be skipped.
pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
    assert!(
        std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"),
        "REQUIRE_ALL=1: {reason}"
    );
}

/// True where `program` can be started.
pub(crate) fn has(program: &str, version: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg(version)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A child that ends when it is dropped, with everything it said.
pub(crate) struct Process {
    child: Child,
    /// Has its own thread, which ends with the child: neither end waits for the other.
    stdin: Sender<Vec<u8>>,
    pub(crate) stdout: Arc<Said>,
    pub(crate) stderr: Arc<Said>,
}

impl Process {
    pub(crate) fn start(command: &mut Command, directory: &Path) -> Self {
        let mut child = command
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was there before");
        let mut pipe = child.stdin.take().expect("a pipe");
        let (stdin, texts) = mpsc::channel::<Vec<u8>>();
        thread::spawn(move || {
            for text in texts {
                // A child that has gone is seen by whoever waits for its words.
                if pipe.write_all(&text).is_err() {
                    return;
                }
            }
        });
        Self {
            stdin,
            stdout: Said::listen(child.stdout.take().expect("a pipe")),
            stderr: Said::listen(child.stderr.take().expect("a pipe")),
            child,
        }
    }

    /// Writes to the child's standard input.
    pub(crate) fn say(&self, text: &[u8]) {
        // As above.
        let _ = self.stdin.send(text.to_vec());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Output of a child so far.
pub(crate) struct Said {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    is_ended: bool,
}

impl Said {
    fn listen(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let said = Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&said);
        thread::spawn(move || {
            let mut chunk = vec![0; 65_536];
            while let Ok(len @ 1..) = pipe.read(&mut chunk) {
                let mut state = writer.state.lock().expect("no panic");
                state.bytes.extend_from_slice(&chunk[..len]);
                writer.changed.notify_all();
            }
            writer.state.lock().expect("no panic").is_ended = true;
            writer.changed.notify_all();
        });
        said
    }

    /// Waits until the child has said `words`; it has said them or is dead after [`PATIENCE`].
    pub(crate) fn wait_for(&self, words: &[u8]) {
        let mut from = 0;
        self.wait(words, |bytes| {
            let found = bytes[from..]
                .windows(words.len())
                .any(|window| window == words);
            from = bytes.len().saturating_sub(words.len());
            found.then_some(())
        });
    }

    /// What the child has said so far.
    pub(crate) fn so_far(&self) -> String {
        let state = self.state.lock().expect("no panic");
        assert!(!state.is_ended, "it has ended");
        String::from_utf8_lossy(&state.bytes).into_owned()
    }

    /// Waits for a line that begins with `head` and returns the rest of it.
    pub(crate) fn line_after(&self, head: &str) -> String {
        self.wait(head.as_bytes(), |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let (_, rest) = text.split_once(head)?;
            let (line, _) = rest.split_once('\n')?;
            Some(line.trim().to_owned())
        })
    }

    fn wait<T>(&self, words: &[u8], mut look: impl FnMut(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock().expect("no panic");
        loop {
            if let Some(found) = look(&state.bytes) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !state.is_ended,
                "never said {:?}, but:\n{}",
                String::from_utf8_lossy(&words[..words.len().min(80)]),
                String::from_utf8_lossy(&state.bytes[state.bytes.len().saturating_sub(2_000)..])
            );
            state = self.changed.wait_timeout(state, left).expect("no panic").0;
        }
    }
}

/// A `Connection` over a blocking socket. Sending has its own thread, so that neither end waits for
/// the other.
pub(crate) struct Link {
    pub(crate) end: End,
    socket: TcpStream,
    sender: Option<Sender<Vec<u8>>>,
    recv_len: usize,
}

impl Link {
    /// Every segment is of at most `segment_len` bytes, each way.
    pub(crate) fn new(end: End, socket: TcpStream, segment_len: usize) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        let mut writer = socket.try_clone().expect("a descriptor");
        let (sender, receiver) = mpsc::channel::<Vec<u8>>();
        thread::spawn(move || {
            for bytes in receiver {
                for segment in bytes.chunks(segment_len) {
                    // A peer that has gone is seen by the reader.
                    if writer.write_all(segment).is_err() {
                        return;
                    }
                }
            }
            let _ = writer.shutdown(std::net::Shutdown::Write);
        });
        Self {
            end,
            socket,
            sender: Some(sender),
            recv_len: segment_len.min(65_536),
        }
    }

    pub(crate) fn connect(end: End, address: &str) -> Self {
        Self::new(
            end,
            TcpStream::connect(address).expect("a listener"),
            usize::MAX,
        )
    }

    pub(crate) fn accept(end: End, listener: &TcpListener) -> Self {
        Self::new(end, listener.accept().expect("a peer").0, usize::MAX)
    }

    /// Sends what there is to send.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let output = self.end.take_output()?;
        if let Some(sender) = &self.sender {
            // As above.
            let _ = sender.send(output);
        }
        Ok(())
    }

    /// Sends, and takes one segment; an error is told to the peer.
    pub(crate) fn step(&mut self) -> Result<()> {
        self.flush()?;
        let mut segment = vec![0; self.recv_len];
        let result = match self.socket.read(&mut segment) {
            Ok(0) => self.end.conn.handle_eof(NOW),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.end.conn.handle_eof(NOW)
            }
            Err(error) => panic!("the peer is silent: {error}"),
            Ok(len) => self.end.feed(&segment[..len]),
        };
        self.flush()?;
        result
    }

    pub(crate) fn establish(&mut self) -> Result<()> {
        while self.end.conn.is_handshaking() {
            self.step()?;
        }
        Ok(())
    }

    /// Steps until `len` bytes have arrived, and takes them.
    pub(crate) fn receive(&mut self, len: usize) -> Result<Vec<u8>> {
        while self.end.received.len() < len {
            assert!(!self.end.conn.is_peer_closed(), "the peer has closed");
            self.step()?;
        }
        Ok(std::mem::take(&mut self.end.received))
    }

    pub(crate) fn send(&mut self, data: &[u8]) {
        self.end.write(data);
        self.flush().expect("an open connection");
    }

    /// Steps until the peer has closed its side or an error has come.
    pub(crate) fn until_closed(&mut self) -> Result<()> {
        while !self.end.conn.is_peer_closed() {
            self.step()?;
        }
        Ok(())
    }
}

/// How long a peer may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);
