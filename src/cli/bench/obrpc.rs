use std::collections::HashMap;
use std::time::Duration;

use super::talk::{Happening, Talk};
use crate::error::Result;
use crate::frame::obrpc::{Pcode, RpcHeader};
use crate::rpc::{Call, CallId, Client, ClientLimits};
use crate::time::{Monotonic, Now};

/// Calls on one connection, each answered when it is.
pub(super) struct Calls {
    calls: Client,
    call: Call,
    arguments: Vec<u8>,
    waiting: HashMap<CallId, Monotonic>,
}

impl Calls {
    pub(super) fn new(pcode: Pcode, len: usize, timeout: Duration) -> Self {
        let header = RpcHeader {
            pcode,
            ..RpcHeader::default()
        };
        Self {
            calls: Client::new(ClientLimits::default()),
            call: Call { header, timeout },
            arguments: vec![b'.'; len],
            waiting: HashMap::new(),
        }
    }
}

impl Talk for Calls {
    fn receive(
        &mut self,
        now: Now,
        input: &mut &[u8],
        _: &mut Vec<u8>,
    ) -> Result<Option<Happening>> {
        let Some(reply) = self.calls.handle_recv(now, input)? else {
            return Ok(None);
        };
        let (id, has_more) = (reply.id, reply.has_more);
        let refusal = (!reply.rcode.is_ok()).then(|| match reply.rcode.name() {
            Some(name) => format!("{name} ({})", reply.rcode.rcode),
            None => format!("result code {}", reply.rcode.rcode),
        });
        if has_more {
            self.calls.cancel(now, id);
        }
        let due = self.waiting.remove(&id);
        Ok(due.map(|due| Happening::Answered(due, refusal)))
    }

    fn request(&mut self, now: Now, due: Monotonic, out: &mut Vec<u8>) -> Result<()> {
        let id = self
            .calls
            .call(now, &self.call, |writer| writer.bytes(&self.arguments))?;
        self.waiting.insert(id, due);
        out.extend_from_slice(self.calls.transmit());
        self.calls.transmitted(usize::MAX);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }
}
