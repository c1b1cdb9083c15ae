use std::ffi::CStr;
use std::fmt;
use std::ops::RangeInclusive;

/// What an RPC calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pcode(pub u32);

/// Declares the codes that have a name here.
macro_rules! pcodes {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        impl Pcode {
            $(#[doc = $doc] pub const $name: Self = Self($value);)*

            /// The name, where it is known here.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// OceanBase's name, where it is known here.
            pub(crate) fn c_name(self) -> Option<&'static CStr> {
                let name = match self {
                    $(Self::$name => concat!("OB_", stringify!($name), "\0"),)*
                    _ => return None,
                };
                CStr::from_bytes_with_nul(name.as_bytes()).ok()
            }
        }
    };
}

pcodes! {
    ERROR_PACKET = 0x010, "The answer to a request that could not be delivered.";

    SET_CONFIG = 0x106, "ob_admin: sets parameters of the server.";
    SET_TENANT_CONFIG = 0x14e, "ob_admin: sets parameters of a tenant.";
    GET_DIAGNOSE_ARGS = 0x1ff, "ob_admin: asks for the arguments of a diagnosis.";
    BATCH_SWITCH_RS_LEADER = 0x2a0, "ob_admin: moves the root service.";
    HA_UNLOCK_MEMBER_LIST = 0x4bc, "ob_admin: unlocks the member list of a log stream.";
    EXEC_DRTASK_OBADMIN_COMMAND = 0x580, "ob_admin: runs a disaster-recovery task.";
    DUMP_MEMTABLE = 0x702, "ob_admin: writes a memtable to a file.";
    FORCE_PURGE_MEMTABLE = 0x722, "ob_admin: halts all prewarming.";
    FORCE_SWITCH_ILOG_FILE = 0x729, "ob_admin: begins a new index log file.";
    FORCE_SET_ALL_AS_SINGLE_REPLICA = 0x72a, "ob_admin: makes every replica the only one.";
    FORCE_CREATE_SYS_TABLE = 0x72c, "ob_admin: creates a system table.";
    FORCE_DISABLE_BLACKLIST = 0x72d, "ob_admin: switches the blacklist off.";
    FORCE_ENABLE_BLACKLIST = 0x72e, "ob_admin: switches the blacklist on.";
    FORCE_CLEAR_BLACKLIST = 0x72f, "ob_admin: empties the blacklist.";
    FORCE_SET_SERVER_LIST = 0x731, "ob_admin: sets the list of servers.";
    FORCE_SET_LOCALITY = 0x733, "ob_admin: sets the locality.";
    DUMP_TX_DATA_MEMTABLE = 0x73c, "ob_admin: writes a memtable of transactions to a file.";
    DUMP_SINGLE_TX_DATA = 0x742, "ob_admin: writes the data of one transaction to a file.";
    FORCE_DUMP_SERVER_USAGE = 0x747, "ob_admin: asks what the server's resources are used for.";
    REMOVE_OBJ_LOCK = 0x92e, "ob_admin: removes the lock of an object.";
    UPDATE_OBJ_LOCK = 0x930, "ob_admin: changes the lock of an object.";
    REMOVE_LOCK_PRIORITY = 0x937, "ob_admin: removes the priority of a lock.";
    LOG_FORCE_SET_LS_AS_SINGLE_REPLICA = 0x1520, "ob_admin: leaves a log stream one replica.";
    LOG_FORCE_CLEAR_ARB_CLUSTER_INFO = 0x1521, "ob_admin: makes an arbiter forget a cluster.";
    LOG_FORCE_SET_TENANT_LOG_DISK = 0x1526, "ob_admin: sets the size of a tenant's log disk.";
    ADMIN_FORCE_DROP_LONELY_LOB_AUX_TABLE = 0x1663, "ob_admin: drops ownerless LOB tables.";

    REQ_START_LOG_ID_BY_TS = 0x850, "Log reader, of old: the first log id at a time.";
    LS_FETCH_MISSING_LOG = 0x851, "Log reader: single log entries by position.";
    FETCH_LOG_EXTERNAL = 0x852, "Log reader, of old: fetches log.";
    LS_FETCH_LOG2 = 0x853, "Log reader: fetches the log of a log stream.";
    START_LOG_ID_WITH_BREAKPOINT = 0x854, "Log reader, of old: the first log id, in steps.";
    LOG_REQ_START_LSN_BY_TS = 0x855, "Log reader: where the log of a log stream begins at a time.";
    OPEN_STREAM = 0x856, "Log reader, of old: opens a stream.";
    LS_FETCH_LOG = 0x857, "Log reader, of old: fetches log.";
    LEADER_HEARTBEAT = 0x858, "Log reader, of old: a sign of life.";
    CDC_FETCH_RAW_LOG = 0x863, "Log reader: fetches log as it lies on disk.";
    LOG_TRANSPORT_REQ = 0x866, "Standby: log that is pushed.";
    LOG_SYNC_STANDBY_INFO = 0x867, "Standby: its progress.";
    GET_LS_LOCATION = 0x868, "Standby: where a log stream is.";

    TABLE_API_LOGIN = 0x1101, "Table API: login.";
    TABLE_API_EXECUTE = 0x1102, "Table API: one operation.";
    TABLE_API_BATCH_EXECUTE = 0x1103, "Table API: operations at once.";
    TABLE_API_EXECUTE_QUERY = 0x1104, "Table API: a query.";
    TABLE_API_QUERY_AND_MUTATE = 0x1105, "Table API: a query that changes what it finds.";
    TABLE_API_EXECUTE_QUERY_ASYNC = 0x1106, "Table API: a query in steps.";
    TABLE_TTL = 0x1107, "Table API: expiry of rows.";
    TTL_REQUEST = 0x1108, "Table API: a task of expiry.";
    TTL_RESPONSE = 0x1109, "Table API: the end of a task of expiry.";
    TABLE_API_GROUP_UPDATE = 0x1122, "Table API: operations of several clients.";
    TABLE_API_DIRECT_LOAD = 0x1123, "Table API: bulk load.";
    TABLE_API_MOVE = 0x1124, "Table API: connections are to move.";
    TABLE_API_LS_EXECUTE = 0x1125, "Table API: operations of one log stream.";
    REDIS_EXECUTE = 0x1126, "Table API: a command of Redis.";
    REDIS_EXECUTE_V2 = 0x1127, "Table API: a command of Redis, in its second form.";
    TABLE_API_META_INFO = 0x1128, "Table API: what is known of a table.";
    TABLE_API_HBASE_EXECUTE = 0x1129, "Table API: an operation of HBase.";

    DETECT_RPC_CALL = 0x1595, "Asks whether a call is still going on.";
    RPC_REVERSE_KEEPALIVE = 0x1597, "Asks the sender of a stream whether it still waits.";
    CHECK_SERVER_ALIVE = 0x1677, "Asks whether the server is alive.";
}

impl Pcode {
    /// True for the calls that OceanBase's servers take from peers without authentication where
    /// `enable_rpc_authentication_bypass` is on.
    pub fn is_bypass(self) -> bool {
        self.is_table_api()
            || matches!(
                self,
                Self::LOG_REQ_START_LSN_BY_TS | Self::LS_FETCH_LOG2 | Self::LS_FETCH_MISSING_LOG
            )
    }

    /// True for the calls of the table API that OceanBase's servers always take from peers without
    /// authentication. Later ones are not among them.
    pub fn is_table_api(self) -> bool {
        TABLE_API.contains(&self)
    }
}

impl fmt::Display for Pcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#x})", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

const TABLE_API: RangeInclusive<Pcode> = Pcode::TABLE_API_LOGIN..=Pcode::TABLE_API_MOVE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_without_authentication() {
        for pcode in [0x1101, 0x1110, 0x1124, 0x855, 0x853, 0x851] {
            assert!(Pcode(pcode).is_bypass(), "{pcode:#x}");
        }
        for pcode in [0x1100, 0x1125, 0x1129, 0x863, 0x106, 0] {
            assert!(!Pcode(pcode).is_bypass(), "{pcode:#x}");
        }
        assert!(!Pcode::LS_FETCH_LOG2.is_table_api());
    }

    #[test]
    fn names() {
        assert_eq!(Pcode(0x853).to_string(), "LS_FETCH_LOG2 (0x853)");
        assert_eq!(Pcode(0x4321).to_string(), "0x4321");
    }
}
