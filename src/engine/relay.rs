use super::io::Io;
use super::slot::Slot;

/// What one [`Engine::relay`](super::Engine::relay) moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Plaintext bytes.
    pub bytes: usize,
    /// Chunks of the source that were moved to their end.
    pub records: usize,
    /// Why it stopped.
    pub state: RelayState,
}

/// Why a relay stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayState {
    /// The source holds nothing more at present.
    Drained,
    /// The sink takes nothing more at present: [`Event::Writable`](super::Event::Writable) follows
    /// (or [`Event::Connected`](super::Event::Connected), where it was not in use yet). The source,
    /// which stays readable, is to be switched off until then by
    /// [`Engine::set_reading`](super::Engine::set_reading).
    SinkFull,
}

pub(super) fn relay(
    source: &mut Slot,
    sink: &mut Slot,
    io: &mut Io,
    mut watch: impl FnMut(&[u8]),
) -> Relayed {
    let (mut bytes, mut records) = (0, 0);
    let state = loop {
        let chunk = source.plain(&io.chunks);
        let len = chunk.len();
        if len == 0 {
            break RelayState::Drained;
        }
        let taken = match sink.try_write(chunk, &mut io.pools) {
            Ok(taken) => {
                watch(&chunk[..taken]);
                taken
            }
            Err(error) => {
                sink.fail(error, io);
                0
            }
        };
        source.consume(taken, io);
        bytes += taken;
        if taken < len {
            break RelayState::SinkFull;
        }
        records += 1;
    };
    Relayed {
        bytes,
        records,
        state,
    }
}
