//! Routes of `protocol = "obrpc"`: what is theirs alone is how a connection goes on to the server,
//! and that its calls are followed.

mod follower;
mod onward;

pub(super) use follower::Follower;
pub(super) use onward::Onward;
