use slab::Slab;

/// Many queues in one memory: an empty one costs eight bytes, and nothing is allocated once the
/// memory has grown to the most that all of them held together.
pub(super) struct Fifos<T> {
    nodes: Slab<Node<T>>,
}

struct Node<T> {
    value: T,
    next: u32,
}

/// One queue of a [`Fifos`], first in, first out.
///
/// Invariant: `head` and `tail` are both [`NONE`], or the first and last of its chained nodes.
pub(super) struct Fifo {
    head: u32,
    tail: u32,
}

impl<T> Fifos<T> {
    pub(super) fn new() -> Self {
        Self { nodes: Slab::new() }
    }

    pub(super) fn push(&mut self, fifo: &mut Fifo, value: T) {
        let index = self.nodes.insert(Node { value, next: NONE }) as u32;
        match self.nodes.get_mut(fifo.tail as usize) {
            Some(last) => last.next = index,
            None => fifo.head = index,
        }
        fifo.tail = index;
    }

    pub(super) fn pop(&mut self, fifo: &mut Fifo) -> Option<T> {
        let node = self.nodes.try_remove(fifo.head as usize)?;
        fifo.head = node.next;
        if node.next == NONE {
            fifo.tail = NONE;
        }
        Some(node.value)
    }

    pub(super) fn front(&self, fifo: &Fifo) -> Option<&T> {
        self.nodes.get(fifo.head as usize).map(|node| &node.value)
    }

    pub(super) fn front_mut(&mut self, fifo: &Fifo) -> Option<&mut T> {
        self.nodes
            .get_mut(fifo.head as usize)
            .map(|node| &mut node.value)
    }

    pub(super) fn back_mut(&mut self, fifo: &Fifo) -> Option<&mut T> {
        self.nodes
            .get_mut(fifo.tail as usize)
            .map(|node| &mut node.value)
    }
}

impl Fifo {
    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

impl Default for Fifo {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
        }
    }
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_share_memory_keep_their_own_order() {
        let mut fifos = Fifos::new();
        let (mut even, mut odd) = (Fifo::default(), Fifo::default());
        for value in 0..10 {
            let fifo = if value % 2 == 0 { &mut even } else { &mut odd };
            fifos.push(fifo, value);
        }
        assert_eq!(fifos.front(&odd), Some(&1));
        assert_eq!(fifos.back_mut(&odd), Some(&mut 9));
        for value in [0, 2, 4, 6, 8] {
            assert_eq!(fifos.pop(&mut even), Some(value));
        }
        assert_eq!(fifos.pop(&mut even), None);
        assert!(even.is_empty());

        fifos.push(&mut even, 10);
        assert_eq!(fifos.front_mut(&even), Some(&mut 10));
        for value in [1, 3, 5, 7, 9] {
            assert_eq!(fifos.pop(&mut odd), Some(value));
        }
        assert_eq!(fifos.pop(&mut even), Some(10));
    }
}
