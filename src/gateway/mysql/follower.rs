use super::login::Login;
use crate::error::{Error, ErrorKind};
use crate::frame::mysql::{
    Activity, Capabilities, Command, ErrPacket, Framing, HEADER_LEN, Sequence, ServerKind,
    SessionWatch, StatusFlags, write_packet,
};
use crate::gateway::session::Side;
use crate::wire::Writer;

/// A session behind its login, followed so that the gateway knows when it can end it without loss,
/// and whether a peer that ends it has meant to.
pub(in crate::gateway) struct Follower {
    watch: SessionWatch,
    framing: Framing,
    /// What the login agreed on, for the next one.
    login: Login,
    /// Why a user that was changed in passing may not be.
    objection: Option<&'static str>,
}

impl Follower {
    pub(super) fn new(
        kind: ServerKind,
        capabilities: Capabilities,
        framing: Framing,
        status: StatusFlags,
        login: Login,
    ) -> Self {
        Self {
            watch: SessionWatch::new(kind, capabilities, framing, status),
            framing,
            login,
            objection: None,
        }
    }

    /// True where `bytes`, the next of the client, begin a login as another user that nothing is in
    /// the way of: such a one passes packet by packet, like the first.
    pub(in crate::gateway) fn begins_login(&self, bytes: &[u8]) -> bool {
        let command = bytes.get(HEADER_LEN).copied().map(Command);
        command == Some(Command::CHANGE_USER)
            && self.framing == Framing::Plain
            && self.watch.activity() == Activity::Idle
    }

    /// Why the session must end before anything of it leaves: a login as another user has begun in
    /// passing, behind another command or in a framing, that may show a password on a leg where it
    /// must not be seen, or be to an account that is denied; or such a login would not be seen.
    pub(in crate::gateway) fn violation(&self) -> Option<Error> {
        let is_blind = self.login.judges_accounts() && self.watch.activity() == Activity::Unknown;
        let why = self.objection.or(is_blind.then_some(BLIND))?;
        Some(Error::new(ErrorKind::Misuse, why))
    }

    /// As whom the client has logged in.
    pub(in crate::gateway) fn user(&self) -> &[u8] {
        self.login.user()
    }

    /// The login as another user.
    pub(in crate::gateway) fn into_login(self) -> Login {
        self.login.again()
    }

    /// Takes note of bytes that `from` has sent to the other side.
    pub(in crate::gateway) fn passed(&mut self, from: Side, bytes: &[u8]) {
        let (login, objection) = (&self.login, &mut self.objection);
        match from {
            Side::Client => self.watch.client(bytes, |start, rest| {
                if start.command == Command::CHANGE_USER {
                    *objection = objection.or_else(|| login.objection(start.header, rest));
                }
            }),
            Side::Server => self.watch.server(bytes),
        }
    }

    /// True where no command is under way and no transaction is open.
    pub(in crate::gateway) fn is_safe_to_close(&self) -> bool {
        self.watch.is_safe_to_close()
    }

    /// True where a connection that ended by `error` has ended as MySQL's peers do, which close
    /// without close_notify: nothing is cut off between two commands, and behind COM_QUIT nobody
    /// reads any more, so that what is still under way may even be answered by a reset. Where a
    /// session cannot be followed its peers still know a packet that is cut off from one that is
    /// not.
    pub(in crate::gateway) fn is_end_in_order(&self, error: &Error) -> bool {
        match self.watch.activity() {
            Activity::Leaving => true,
            Activity::Idle | Activity::Unknown => error.kind() == ErrorKind::Truncated,
            Activity::InFlight => false,
        }
    }

    /// What `to` is told at a safe moment where the gateway ends the session: the client what a
    /// server says that is shut down, the server what a client says that leaves. Nothing in
    /// OceanBase's protocol 2.0, whose frames carry counters that are the peers' own.
    pub(in crate::gateway) fn farewell(&self, to: Side) -> Vec<u8> {
        let mut packet = Vec::new();
        write_packet(&mut packet, &mut Sequence::default(), |writer| match to {
            Side::Client => SHUTDOWN.write(writer),
            Side::Server => writer.u8(Command::QUIT.0),
        });
        match self.framing {
            Framing::Plain => packet,
            Framing::Zlib => stored(&packet),
            Framing::Ob20OrPlain | Framing::Unreadable => Vec::new(),
        }
    }
}

/// A compressed frame, the first of its command, that carries `packet` as it is.
fn stored(packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut writer = Writer::new(&mut frame);
    writer.u24_le(packet.len() as u32);
    writer.u8(0);
    writer.u24_le(0);
    writer.bytes(packet);
    frame
}

const BLIND: &str = "the session's commands can no longer be told apart, and accounts are checked \
    here: a change of user would not be seen";

/// ER_SERVER_SHUTDOWN, upon which drivers and pools connect anew.
const SHUTDOWN: ErrPacket<'static> = ErrPacket {
    code: 1053,
    sql_state: Some(*b"08S01"),
    message: b"Server shutdown in progress",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::mysql::OkPacket;
    use crate::gateway::mysql::LoginPolicy;

    fn follower(framing: Framing) -> Follower {
        let login = Login::new(LoginPolicy::plain());
        let (kind, capabilities) = (ServerKind::MySql, Capabilities::PROTOCOL_41);
        Follower::new(kind, capabilities, framing, StatusFlags::default(), login)
    }

    fn packet(sequence: u8, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, &mut Sequence(sequence), write);
        bytes
    }

    fn truncated() -> Error {
        Error::new(ErrorKind::Truncated, "no close_notify")
    }

    fn reset() -> Error {
        Error::new(ErrorKind::Io, "reset")
    }

    #[test]
    fn an_end_is_in_order_between_commands_and_behind_quit() {
        let mut follower = follower(Framing::Plain);
        assert!(follower.is_end_in_order(&truncated()));
        assert!(!follower.is_end_in_order(&reset()));

        follower.passed(Side::Client, &packet(0, |w| w.bytes(b"\x03SELECT 1")));
        assert!(!follower.is_end_in_order(&truncated()));
        follower.passed(Side::Server, &packet(1, |w| OkPacket::default().write(w)));
        assert!(follower.is_end_in_order(&truncated()));

        follower.passed(Side::Client, &follower.farewell(Side::Server));
        assert!(follower.is_end_in_order(&truncated()));
        assert!(follower.is_end_in_order(&reset()));
    }

    #[test]
    fn a_session_that_cannot_be_followed_is_never_safe_to_close() {
        let follower = follower(Framing::Unreadable);
        assert!(!follower.is_safe_to_close());
        assert!(follower.is_end_in_order(&truncated()));
        assert!(!follower.is_end_in_order(&reset()));
    }

    #[test]
    fn farewells_come_in_the_framing_of_the_session() {
        for framing in [Framing::Plain, Framing::Zlib] {
            let mut watched = follower(framing);
            // The watch reads what it says itself: a command that leaves, and an error that nobody
            // has asked for.
            watched.passed(Side::Server, &watched.farewell(Side::Client));
            assert!(watched.is_safe_to_close(), "{framing:?}");
            watched.passed(Side::Client, &watched.farewell(Side::Server));
            assert_eq!(watched.watch.activity(), Activity::Leaving, "{framing:?}");
        }
        let error = follower(Framing::Plain).farewell(Side::Client);
        let said = ErrPacket::parse(&error[4..]).unwrap();
        assert_eq!((said.code, said.sql_state), (1053, Some(*b"08S01")));
        assert!(
            follower(Framing::Ob20OrPlain)
                .farewell(Side::Client)
                .is_empty()
        );
    }
}
