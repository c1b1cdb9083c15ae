//! Routes of `protocol = "mysql"`: what is theirs alone is the login, and that the session behind
//! it is followed.

mod accounts;
mod follower;
mod login;
mod password;
mod refusal;

pub(super) use follower::Follower;
pub(super) use login::{Login, LoginPolicy, ServerUpgrade, Step};
pub(super) use password::PasswordKeys;
pub(super) use refusal::Refusal;
