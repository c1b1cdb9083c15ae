//! What a back end promises, against real peers on loopback.

mod rig;
mod streams;
mod topics;

use sealwire::engine::backend::{Backend, BackendOptions};
use sealwire::engine::epoll::EpollBackend;
use sealwire::engine::uring::UringBackend;

type Open = fn(&BackendOptions) -> Option<Box<dyn Backend>>;

/// Runs every topic on both back ends.
macro_rules! on_every_backend {
    ($($module:ident: $($topic:ident)*;)*) => {
        mod uring {
            $($(#[test] fn $topic() { super::$module::$topic(super::uring_backend); })*)*
        }
        mod epoll {
            $($(#[test] fn $topic() { super::$module::$topic(super::epoll_backend); })*)*
        }
    };
}

on_every_backend! {
    topics:
        a_refused_connect_says_so
        a_socket_closes_while_it_connects
        a_unix_listener_replaces_a_dead_one_only
        a_waker_ends_a_wait_from_another_thread
        accept_stop_empties_the_queue
        accepted_connections_know_where_their_peer_connected_to
        accepted_connections_name_their_peer
        adopted_sockets_may_be_of_either_blocking_mode
        back_ends_come_and_go_on_one_thread
        descriptors_return_when_sockets_close
        descriptors_that_run_out_fail_the_accept_only
        every_socket_works_until_descriptors_run_out
        more_sends_than_the_queue_holds_all_leave
        timeouts_are_not_cut_short;
    streams:
        a_closed_socket_that_is_held_elsewhere_is_heard_no_more
        a_dropped_back_end_leaves_nothing_under_way
        a_reset_fails_the_receive
        a_reset_reaches_the_peer
        a_unix_socket_that_is_reset_just_ends
        a_stop_and_the_end_of_the_stream_give_one_notice
        close_gives_the_buffer_of_a_send_back
        leases_go_back_in_any_order
        leases_of_another_back_end_are_let_go
        leases_outlive_their_back_end
        short_sends_are_reported_and_lose_nothing
        shutdown_ends_one_direction
        starved_receives_lose_nothing
        stopped_receives_lose_nothing
        streams_are_echoed;
}

fn epoll_backend(options: &BackendOptions) -> Option<Box<dyn Backend>> {
    Some(Box::new(EpollBackend::new(options).unwrap()))
}

/// None where the machine forbids io_uring, unless REQUIRE_ALL demands it.
fn uring_backend(options: &BackendOptions) -> Option<Box<dyn Backend>> {
    match UringBackend::new(options) {
        Ok(backend) => Some(Box::new(backend)),
        Err(reason) => {
            assert!(std::env::var_os("REQUIRE_ALL").is_none(), "{reason}");
            eprintln!("skipped: {reason}");
            None
        }
    }
}
