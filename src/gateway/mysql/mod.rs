//! Routes of `protocol = "mysql"`: what is theirs alone is the login.

mod login;
mod refusal;

pub(super) use login::{Login, LoginPolicy, Step};
pub(super) use refusal::Refusal;
