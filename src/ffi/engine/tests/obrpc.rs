//! OB-RPC over the engine.

use std::ffi::c_uint;
use std::mem::{MaybeUninit, zeroed};

use super::*;
use crate::ffi::config::obrpc::*;
use crate::ffi::conn::obrpc::call::*;
use crate::ffi::conn::obrpc::packet::*;
use crate::ffi::conn::obrpc::sealwire_conn_obrpc_method;

const METHODS: [c_uint; 3] = [
    SEALWIRE_OBRPC_NONE,
    SEALWIRE_OBRPC_SSL_NO_ENCRYPT,
    SEALWIRE_OBRPC_SSL_IO,
];

/// Both ends of a connection on one engine, each answering to its events.
struct Ends {
    client: *mut sealwire_conn,
    server: *mut sealwire_conn,
    replies: Vec<(u64, sealwire_result)>,
    is_silent: bool,
}

impl Rig {
    fn rpc_listen(&self, methods: c_uint) -> *mut sealwire_listener {
        let config = rpc_server_config(methods);
        let listener = self.listen_with(config, &sealwire_listen_options::default());
        sealwire_config_free(config);
        listener
    }

    fn rpc_client(&self, method: c_uint) -> *mut sealwire_conn {
        let builder = client_builder();
        let set = sealwire_config_builder_set_obrpc_method(builder, method);
        assert_eq!(set, SEALWIRE_OK);
        let config = build(builder);
        let client = new_client(config);
        sealwire_config_free(config);
        client
    }

    fn rpc_run(&self, ends: &mut Ends, replies: usize) {
        let begun = Instant::now();
        while ends.replies.len() < replies {
            assert!(begun.elapsed() < HANG, "a hang");
            let timeout_ms = sealwire_conn_timeout_ms(ends.client);
            for event in self.wait_for(timeout_ms, 64) {
                if event.kind == SEALWIRE_EVENT_ACCEPTED {
                    ends.server = event.conn;
                }
            }
            ends.serve();
            ends.take_replies();
        }
    }
}

fn rpc_server_config(methods: c_uint) -> *const sealwire_config {
    let builder = server_builder();
    let set = sealwire_config_builder_set_obrpc_methods(builder, methods);
    assert_eq!(set, SEALWIRE_OK);
    build(builder)
}

impl Ends {
    /// Answers each request with its own arguments.
    fn serve(&self) {
        // SAFETY: numbers and pointers, which may be zero.
        let mut request: sealwire_obrpc_packet = unsafe { zeroed() };
        while !self.server.is_null()
            && sealwire_conn_next_obrpc_packet(self.server, &raw mut request) == SEALWIRE_OK
        {
            if !self.is_silent {
                let (args, len) = (request.payload.cast(), request.payload_len);
                let answered = sealwire_conn_answer_obrpc_packet(
                    self.server,
                    &raw const request,
                    0,
                    args,
                    len,
                );
                assert_eq!(answered, SEALWIRE_OK);
            }
        }
    }

    fn take_replies(&mut self) {
        let mut reply = MaybeUninit::uninit();
        while sealwire_conn_obrpc_next_reply(self.client, reply.as_mut_ptr()) == SEALWIRE_OK {
            // SAFETY: written, since there is one.
            let reply = unsafe { reply.assume_init_ref() };
            self.replies.push((reply.call_id, reply.status));
        }
    }

    fn call(&self, args: &[u8], timeout_ms: u32) -> u64 {
        // SAFETY: numbers and pointers, which may be zero.
        let zeroed: sealwire_obrpc_call = unsafe { zeroed() };
        let call = sealwire_obrpc_call {
            pcode: 0x106,
            timeout_ms,
            args: args.as_ptr().cast(),
            args_len: args.len(),
            ..zeroed
        };
        let mut id = 0;
        let called = sealwire_conn_obrpc_call(self.client, &raw const call, &raw mut id);
        assert_eq!(called, SEALWIRE_OK);
        id
    }
}

pub(super) fn calls_are_answered_by_each_method(backend: c_int) {
    for method in METHODS {
        let rig = Rig::new(backend);
        let listener = rig.rpc_listen(METHODS.iter().sum());
        let client = rig.rpc_client(method);
        assert_eq!(sealwire_conn_obrpc_method(client), 0);
        rig.connect(client, listener);
        let mut ends = Ends {
            client,
            server: ptr::null_mut(),
            replies: Vec::new(),
            is_silent: false,
        };
        // Longer than what a queue takes at once, and made before the connection is.
        let args = vec![b'x'; 300_000];
        let ids = [1, 2, 3].map(|_| ends.call(&args[..100_000], 600_000));
        rig.rpc_run(&mut ends, ids.len());
        assert_eq!(ends.replies, ids.map(|id| (id, SEALWIRE_OK)));
        assert_eq!(sealwire_conn_timeout_ms(client), -1);
        for conn in [client, ends.server] {
            assert_eq!(sealwire_conn_obrpc_method(conn), method);
        }
        // What it was stays known when it is gone.
        assert_eq!(sealwire_conn_shutdown(client), SEALWIRE_OK);
        assert_eq!(sealwire_conn_shutdown(ends.server), SEALWIRE_OK);
        let mut closed = 0;
        rig.run(|event| {
            closed += usize::from(event.kind == SEALWIRE_EVENT_CLOSED);
            closed == 2
        });
        for conn in [client, ends.server] {
            assert_eq!(sealwire_conn_obrpc_method(conn), method);
            sealwire_conn_free(conn);
        }
        sealwire_listener_free(listener);
    }
}

pub(super) fn a_call_without_an_answer_ends_the_wait(backend: c_int) {
    let rig = Rig::new(backend);
    let listener = rig.rpc_listen(SEALWIRE_OBRPC_SSL_IO);
    let client = rig.rpc_client(SEALWIRE_OBRPC_SSL_IO);
    rig.connect(client, listener);
    let mut ends = Ends {
        client,
        server: ptr::null_mut(),
        replies: Vec::new(),
        is_silent: true,
    };
    let id = ends.call(b"unheard", 50);
    let timeout_ms = sealwire_conn_timeout_ms(client);
    assert!((0..=50).contains(&timeout_ms), "{timeout_ms}");
    rig.rpc_run(&mut ends, 1);
    assert_eq!(ends.replies, [(id, SEALWIRE_ERR_TIMEOUT)]);
    assert_eq!(sealwire_conn_timeout_ms(client), -1);
    sealwire_conn_free(client);
    sealwire_conn_free(ends.server);
    sealwire_listener_free(listener);
}

pub(super) fn a_negotiation_leaves_no_room_for_plaintext_in_front(backend: c_int) {
    let rig = Rig::new(backend);
    let config = rpc_server_config(SEALWIRE_OBRPC_SSL_IO);
    let options = sealwire_listen_options {
        plaintext_first: 1,
        ..Default::default()
    };
    let mut listener = ptr::null_mut();
    let address = c"127.0.0.1:0".as_ptr();
    let result = sealwire_engine_listen(rig.engine, config, address, &options, &raw mut listener);
    assert_eq!(result, SEALWIRE_ERR_ARGUMENT);
    assert!(rig.error().contains("negotiate"), "{}", rig.error());
    sealwire_config_free(config);
    let listener = rig.rpc_listen(SEALWIRE_OBRPC_SSL_IO);
    let client = rig.rpc_client(SEALWIRE_OBRPC_SSL_IO);
    rig.connect(client, listener);
    rig.run(|event| event.kind == SEALWIRE_EVENT_READY && event.conn == client);
    assert_eq!(sealwire_conn_start_tls(client), SEALWIRE_ERR_STATE);
    sealwire_conn_free(client);
    sealwire_listener_free(listener);
}
