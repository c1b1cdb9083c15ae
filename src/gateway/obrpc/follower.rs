use crate::error::{Error, ErrorKind};
use crate::frame::obrpc::{
    Beginning, CallActivity, CallStart, CallWatch, FirstBytes, Pcode, ResultCode, refusal,
};
use crate::gateway::session::Side;

/// A connection behind its negotiation, followed so that the gateway knows when it can end it
/// without loss, and that it sees calls that the client must not make.
pub(in crate::gateway) struct Follower {
    watch: CallWatch,
    is_keepalive: bool,
    /// The client was admitted for some calls only.
    is_restricted: bool,
    /// The first call that was none of those.
    refused: Option<CallStart>,
}

impl Follower {
    pub(in crate::gateway) fn new(beginning: &Beginning) -> Self {
        // A negotiation is used up: what follows it are calls.
        let first = match beginning.first {
            FirstBytes::Ussl | FirstBytes::Tls => FirstBytes::ObRpc {
                chid: 0,
                pcode: None,
            },
            first => first,
        };
        Self {
            watch: CallWatch::new(first),
            is_keepalive: first == FirstBytes::NetKeepalive,
            is_restricted: beginning.is_restricted,
            refused: None,
        }
    }

    /// Takes note of bytes that `from` has sent to the other side.
    pub(in crate::gateway) fn passed(&mut self, from: Side, bytes: &[u8]) {
        let Self {
            watch,
            is_restricted,
            refused,
            ..
        } = self;
        match from {
            Side::Server => watch.server(bytes),
            Side::Client => watch.client(bytes, |start| {
                let is_allowed = start.pcode.is_some_and(Pcode::is_bypass);
                if *is_restricted && !is_allowed {
                    refused.get_or_insert(start);
                }
            }),
        }
        // Calls that cannot be seen cannot be allowed.
        if self.is_restricted && self.watch.activity() == CallActivity::Unknown {
            self.refused.get_or_insert(CallStart {
                chid: 0,
                pcode: None,
            });
        }
    }

    /// A call that the client must not make: what it is told, and why. Nothing of the call has left
    /// yet.
    pub(in crate::gateway) fn violation(&self) -> Option<(Vec<u8>, Error)> {
        let CallStart { chid, pcode } = self.refused?;
        let what = pcode.map_or_else(|| "a request without a code".into(), |p| p.to_string());
        let text = format!(
            "client makes the request {what}, and was admitted without authentication for those of \
             the table API and of log readers alone"
        );
        let answer = refusal(
            chid,
            pcode.unwrap_or(Pcode::ERROR_PACKET),
            ResultCode::UNKNOWN_CONNECTION,
        );
        Some((answer, Error::new(ErrorKind::Protocol, text)))
    }

    /// True where no call is under way. A net keepalive never has anything to lose.
    pub(in crate::gateway) fn is_safe_to_close(&self) -> bool {
        self.is_keepalive || self.watch.activity() == CallActivity::Idle
    }

    /// True where a connection that ended by `error` has ended as OceanBase's ends do, which close
    /// without close_notify.
    pub(in crate::gateway) fn is_end_in_order(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Truncated && self.watch.activity() != CallActivity::InFlight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::obrpc::{EasyChannel, Flags, RpcHeader, Then, write_packet};

    fn follower(first: FirstBytes, is_restricted: bool) -> Follower {
        Follower::new(&Beginning {
            first,
            message: None,
            then: Then::Plain,
            is_restricted,
        })
    }

    fn packet(chid: u32, pcode: Pcode, flags: Flags) -> Vec<u8> {
        let header = RpcHeader {
            pcode,
            flags,
            ..RpcHeader::default()
        };
        let mut out = Vec::new();
        write_packet(&mut out, chid, &header, |w| w.bytes(b"arguments")).unwrap();
        out
    }

    const EASY: FirstBytes = FirstBytes::EasyRpc(EasyChannel::Rpc);

    #[test]
    fn a_restricted_client_makes_some_calls_only() {
        let allowed = packet(1, Pcode::TABLE_API_LOGIN, Flags::default());
        let refused = packet(2, Pcode::SET_CONFIG, Flags::default());
        let call = FirstBytes::ObRpc {
            chid: 1,
            pcode: None,
        };
        let mut follower = follower(call, true);
        follower.passed(Side::Client, &allowed);
        assert!(follower.violation().is_none());
        follower.passed(Side::Client, &refused);
        let (answer, error) = follower.violation().unwrap();
        let expected = refusal(2, Pcode::SET_CONFIG, ResultCode::UNKNOWN_CONNECTION);
        assert_eq!(answer, expected);
        assert!(error.to_string().contains("SET_CONFIG"), "{error}");
    }

    #[test]
    fn a_restricted_client_must_be_readable() {
        let mut follower = follower(EASY, true);
        follower.passed(Side::Client, &[0; 64]);
        assert!(follower.violation().is_some());
    }

    #[test]
    fn others_may_call_what_they_like() {
        let mut follower = follower(FirstBytes::Ussl, false);
        follower.passed(
            Side::Client,
            &packet(2, Pcode::SET_CONFIG, Flags::default()),
        );
        assert!(follower.violation().is_none());
        assert!(!follower.is_safe_to_close());
        follower.passed(Side::Server, &packet(2, Pcode::SET_CONFIG, Flags::RESPONSE));
        assert!(follower.is_safe_to_close());
    }

    #[test]
    fn a_keepalive_can_end_at_any_time_and_what_is_unknown_at_none() {
        assert!(follower(FirstBytes::NetKeepalive, false).is_safe_to_close());
        assert!(!follower(FirstBytes::Http2, false).is_safe_to_close());
    }

    #[test]
    fn an_end_without_close_notify_is_in_order_between_calls() {
        let truncated = Error::new(ErrorKind::Truncated, "no close_notify");
        let reset = Error::new(ErrorKind::Io, "reset");
        let mut follower = follower(FirstBytes::Ussl, false);
        assert!(follower.is_end_in_order(&truncated));
        assert!(!follower.is_end_in_order(&reset));
        follower.passed(
            Side::Client,
            &packet(2, Pcode::SET_CONFIG, Flags::default()),
        );
        assert!(!follower.is_end_in_order(&truncated));
    }
}
