use crate::time::Monotonic;

/// The next deadline of every connection: a binary heap that knows where each connection's one
/// entry is.
///
/// An entry may be earlier than the deadline it stands for, since a deadline that moves away (the
/// common case: activity pushes an idle timeout on) leaves its entry alone. Whoever is popped is
/// therefore asked for its true deadline and scheduled again.
///
/// Invariant: `positions[heap[i].owner] == i`; every entry is due no earlier than its parent.
#[derive(Default)]
pub(super) struct Timers {
    heap: Vec<Entry>,
    positions: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    at: Monotonic,
    owner: u32,
}

impl Timers {
    /// The earliest entry.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.heap.first().map(|entry| entry.at)
    }

    /// Makes sure that `owner` is popped once `at` has come.
    pub(super) fn schedule(&mut self, owner: u32, at: Monotonic) {
        if self.positions.len() <= owner as usize {
            self.positions.resize(owner as usize + 1, NOWHERE);
        }
        let position = match self.positions[owner as usize] {
            NOWHERE => {
                self.heap.push(Entry { at, owner });
                self.heap.len() - 1
            }
            position if at < self.heap[position as usize].at => {
                self.heap[position as usize].at = at;
                position as usize
            }
            _ => return,
        };
        self.rise(position);
    }

    /// Takes out an owner whose entry is due.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<u32> {
        let first = *self.heap.first().filter(|entry| entry.at <= now)?;
        self.remove(first.owner);
        Some(first.owner)
    }

    /// Takes out the entry of `owner`, where it has one.
    pub(super) fn remove(&mut self, owner: u32) {
        let Some(&position) = self.positions.get(owner as usize) else {
            return;
        };
        if position == NOWHERE {
            return;
        }
        self.positions[owner as usize] = NOWHERE;
        self.heap.swap_remove(position as usize);
        if (position as usize) < self.heap.len() {
            self.rise(position as usize);
            self.sink(position as usize);
        }
    }

    fn rise(&mut self, mut position: usize) {
        let entry = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].at <= entry.at {
                break;
            }
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, entry);
    }

    fn sink(&mut self, mut position: usize) {
        let entry = self.heap[position];
        loop {
            let left = 2 * position + 1;
            let Some(child) =
                (left..self.heap.len().min(left + 2)).min_by_key(|&i| self.heap[i].at)
            else {
                break;
            };
            if entry.at <= self.heap[child].at {
                break;
            }
            self.put(position, self.heap[child]);
            position = child;
        }
        self.put(position, entry);
    }

    fn put(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        self.positions[entry.owner as usize] = position as u32;
    }
}

const NOWHERE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Monotonic {
        Monotonic::from_ns(ns)
    }

    #[test]
    fn entries_come_out_in_order_whatever_was_moved_and_removed() {
        let mut timers = Timers::default();
        let mut expected = Vec::new();
        for owner in 0..500_u32 {
            let ns = u64::from(owner.wrapping_mul(2_654_435_761) % 1_000);
            timers.schedule(owner, at(ns + 2_000));
            match owner % 3 {
                0 => timers.remove(owner),
                1 => {
                    timers.schedule(owner, at(ns));
                    expected.push(ns);
                }
                _ => expected.push(ns + 2_000),
            }
        }
        expected.sort_unstable();
        let mut popped = Vec::new();
        while let Some(next) = timers.next() {
            assert_eq!(
                timers
                    .pop_due(at(next.as_ns() - u64::from(next.as_ns() > 0)))
                    .is_some(),
                next.as_ns() == 0
            );
            if next.as_ns() > 0 {
                timers.pop_due(next).expect("an entry is due");
            }
            popped.push(next.as_ns());
        }
        assert_eq!(popped, expected);
    }

    #[test]
    fn an_entry_is_moved_forward_only() {
        let mut timers = Timers::default();
        timers.schedule(7, at(10));
        timers.schedule(7, at(20));
        assert_eq!(timers.next(), Some(at(10)));
        timers.schedule(7, at(5));
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(5)), Some(7));
        assert_eq!(timers.next(), None);
    }
}
