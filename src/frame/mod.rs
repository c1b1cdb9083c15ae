//! Wire formats of the protocols: bytes in, meaning out. No I/O, no clock, and no input makes it
//! panic.

pub mod mysql;
pub mod obrpc;
pub mod proxy;
