//! Wire formats from outside: recorded sessions, dialogues made by hand, and hostile bytes.

mod capture;
mod dialogues;
#[expect(
    unreachable_pub,
    reason = "a fuzzer's crate calls the same functions from outside"
)]
#[path = "../../fuzz/mysql.rs"]
mod fuzz;
#[expect(
    unreachable_pub,
    reason = "a fuzzer's crate calls the same functions from outside"
)]
#[path = "../../fuzz/obrpc.rs"]
mod fuzz_obrpc;
#[expect(
    unreachable_pub,
    reason = "a fuzzer's crate calls the same functions from outside"
)]
#[path = "../../fuzz/proxy.rs"]
mod fuzz_proxy;
mod hostile;
mod login;
mod obrpc;
mod proxy;
mod sessions;
