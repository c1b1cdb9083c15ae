/// Ends the wait of an engine from another thread.
#[derive(Clone, Debug)]
pub struct Waker {}

impl Waker {
    /// Ends the present wait, or the next one where none is under way.
    pub fn wake(&self) {}
}
