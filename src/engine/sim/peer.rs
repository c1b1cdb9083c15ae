use std::cell::RefCell;
use std::rc::Rc;

use super::world::World;

/// The other end of a connection, moved by a test. What it does is done at once; dropping it closes
/// it.
pub struct SimPeer {
    world: Rc<RefCell<World>>,
    end: usize,
}

impl SimPeer {
    pub(super) fn new(world: Rc<RefCell<World>>, end: usize) -> Self {
        Self { world, end }
    }

    /// Sends as much of `bytes` as the connection holds, and says how much that is.
    pub fn send(&self, bytes: &[u8]) -> usize {
        self.world.borrow_mut().write(self.end, bytes)
    }

    /// Takes at most `len_max` bytes of what has arrived.
    pub fn recv(&self, len_max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.world.borrow_mut().read(self.end, len_max, &mut bytes);
        bytes
    }

    /// Ends this side's stream.
    pub fn shutdown(&self) {
        self.world.borrow_mut().end_stream(self.end);
    }

    /// Breaks the connection.
    pub fn reset(&self) {
        self.world.borrow_mut().reset_other(self.end);
    }

    /// True where the other side's stream has ended and all of it was taken.
    pub fn is_eof(&self) -> bool {
        self.world.borrow().is_eof(self.end)
    }

    /// True where the other side broke the connection.
    pub fn is_reset(&self) -> bool {
        self.world.borrow().is_reset(self.end)
    }
}

impl Drop for SimPeer {
    fn drop(&mut self) {
        self.world.borrow_mut().close_end(self.end);
    }
}
