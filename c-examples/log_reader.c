/*
 * A reader of OceanBase's log, as liboblog is one: asks a server where the log of a log stream
 * begins at a given time, fetches from there on, checks every group and entry, and writes the
 * entries to its output. Counts, and all that is to be said, go to stderr.
 *
 *   log_reader --ca CA.pem --ls 1001 --tenant 1002 --from-ns 1700000000000000000 HOST PORT
 *
 * A connection may break at any byte. What outlives it is one position in the log, which moves when
 * groups have been checked and written: whoever asks again from there neither loses a group nor
 * repeats one.
 */
#include <endian.h>
#include <netinet/in.h>
#include <time.h>

#include "ob_client.h"
#include "oblog.h"

static const char usage[] = "usage: log_reader [FLAGS] HOST PORT\n"
                            "\n"
                            "Writes the entries of a log stream to standard output, each with its header, and\n"
                            "ends where the log does.";

static const char help[] = "Exit code:\n"
                           "  0  the end of the log, or --until-ns, was reached\n"
                           "  1  the server said no\n"
                           "  2  this tool cannot be used like that\n"
                           "  3  the server could not be reached, or is not to be believed\n"
                           "  4  the output could not be written\n"
                           "  5  what the server sent is damaged; nothing was written from there on\n"
                           "\n"
                           "The last line on stderr has the position behind what was written, for --from-lsn.\n";

enum {
    REQ_START_LSN_BY_TS = 0x855,
    LS_FETCH_LOG2 = 0x853,
    /* A server leaves a connection to a group of its threads: this one serves the log. */
    RATE_LIMITED_GROUP = 2,
    RPC_VERSION = 1,
    UNCOMPRESSED = 1,
    LOG_LEN_MAX = 17 << 20,
    OUTPUT_FAILED = 4,
    DAMAGED = 5
};

static struct {
    const char *ls, *tenant, *from_ns, *from_lsn, *until_ns, *attempts;
} flags = { .tenant = "1", .until_ns = "0x7fffffffffffffff", .attempts = "10" };

static const struct ob_flag own_flags[] = {
    { "ls", "ID", "the log stream: 1 is the system's, others begin at 1001", &flags.ls },
    { "tenant", "ID", "the tenant that it belongs to (default: 1)", &flags.tenant },
    { "from-ns", "TIME", "begin at this time, in nanoseconds since 1970", &flags.from_ns },
    { "from-lsn", "LSN", "begin at this position instead", &flags.from_lsn },
    { "until-ns", "TIME", "end at this time", &flags.until_ns },
    { "attempts", "COUNT", "connections in a row that bring nothing, before giving up (default: 10)", &flags.attempts },
    { NULL, NULL, NULL, NULL },
};

static struct {
    uint64_t ls_id, tenant_id, from_ns, until_ns;
    /* Behind all that was written. */
    struct oblog_position position;
    bool has_position;
    /* The time of the latest group: another server finds its place by it. */
    uint64_t progress_ns;
    uint64_t groups, entries, bytes, breaks;
    /* Connections that brought nothing, since the last one that did. */
    uint64_t failures;
} reader;

/* How a step went. What another attempt cannot mend ends the program. */
enum step { MORE, IDLE, END, BROKEN };

/* A reply to LS_FETCH_LOG2, in as much as is looked at. */
struct fetched {
    int32_t error, feedback;
    bool is_end;
    uint64_t ls_id, next_lsn, group_count;
    struct unis_reader log;
};

static void configure_reader(void);
static enum step read_until_broken(void);
static void report(void);
static void pause_ms(uint64_t ms);

int main(int argc, char **argv)
{
    uint64_t attempts;

    if (ob_parse(argc, argv, own_flags, usage, help) != argc)
        ob_die(OB_USAGE, "there is something behind HOST and PORT; see --help");
    configure_reader();
    attempts = ob_number("--attempts", flags.attempts, UINT32_MAX);
    ob_configure((uint64_t)RATE_LIMITED_GROUP << 32);
    atexit(report);

    while (read_until_broken() != END) {
        reader.breaks++;
        if (++reader.failures >= attempts)
            ob_die(OB_UNREACHABLE, "nothing new came; attempts in a row: %llu", (unsigned long long)attempts);
        pause_ms(100 * (reader.failures - 1));
    }
    ob_end();
    return OB_DONE;
}

static void configure_reader(void)
{
    if (flags.ls == NULL)
        ob_die(OB_USAGE, "--ls is missing; see --help");
    if ((flags.from_ns == NULL) == (flags.from_lsn == NULL))
        ob_die(OB_USAGE, "where is it to begin? One of --from-ns and --from-lsn says so");
    reader.ls_id = ob_number("--ls", flags.ls, INT64_MAX);
    reader.tenant_id = ob_number("--tenant", flags.tenant, INT64_MAX);
    reader.until_ns = ob_number("--until-ns", flags.until_ns, INT64_MAX);
    if (flags.from_ns != NULL)
        reader.from_ns = ob_number("--from-ns", flags.from_ns, INT64_MAX);
    if (flags.from_lsn != NULL)
        reader.position.lsn = ob_number("--from-lsn", flags.from_lsn, UINT64_MAX);
    reader.has_position = flags.from_lsn != NULL;
}

static void report(void)
{
    fprintf(stderr, "groups %llu, entries %llu, bytes %llu, breaks %llu, next LSN %llu\n",
            (unsigned long long)reader.groups, (unsigned long long)reader.entries, (unsigned long long)reader.bytes,
            (unsigned long long)reader.breaks, (unsigned long long)reader.position.lsn);
}

static void pause_ms(uint64_t ms)
{
    struct timespec time = { (time_t)(ms / 1000), (long)(ms % 1000 * 1000000) };
    nanosleep(&time, NULL);
}

/* A link that broke is worth another attempt. Whatever else failed would fail again. */
static enum step judge_failure(sealwire_result result)
{
    if (result != SEALWIRE_EOF && (result > -200 || result <= -300))
        ob_die(result <= -500 && result > -600 ? DAMAGED : OB_UNREACHABLE, "%s", ob_why(result));
    fprintf(stderr, "%s: at LSN %llu: %s\n", ob.program, (unsigned long long)reader.position.lsn, ob_why(result));
    return BROKEN;
}

/* --- requests --- */

/* Who reads: our process, and the address by which it speaks to the server. */
static void put_client(struct unis_writer *args)
{
    union {
        struct sockaddr any;
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
    } own;
    socklen_t own_len = sizeof own;
    bool is_ip6;
    uint32_t words[4] = { 0 };
    size_t client, address, i;

    memset(&own, 0, sizeof own);
    getsockname(ob.fd, &own.any, &own_len);
    is_ip6 = own.any.sa_family == AF_INET6;
    if (is_ip6)
        memcpy(words, &own.ip6.sin6_addr, sizeof words);
    else
        words[0] = htole32(ntohl(own.ip4.sin_addr.s_addr));

    client = unis_begin_object(args);
    unis_put_vi64(args, getpid());
    address = unis_begin_object(args);
    unis_put_vi32(args, is_ip6 ? 6 : 4);
    for (i = 0; i < 4; i++)
        unis_put_vi32(args, (int32_t)le32toh(words[i]));
    unis_put_vi32(args, ntohs(is_ip6 ? own.ip6.sin6_port : own.ip4.sin_port));
    unis_end_object(args, address);
    unis_end_object(args, client);
}

static void put_start_request(struct unis_writer *args)
{
    size_t members = unis_begin_object(args), item;
    unis_put_vi64(args, RPC_VERSION);
    /* One log stream is asked for. */
    unis_put_vi64(args, 1);
    item = unis_begin_object(args);
    unis_put_be64(args, reader.ls_id);
    unis_put_vi64(args, (int64_t)reader.from_ns);
    unis_end_object(args, item);
    put_client(args);
    unis_put_u8(args, 0);
    unis_end_object(args, members);
}

static void put_fetch_request(struct unis_writer *args)
{
    size_t members = unis_begin_object(args);
    unis_put_vi64(args, RPC_VERSION);
    unis_put_be64(args, reader.ls_id);
    unis_put_be64(args, reader.position.lsn);
    unis_put_vi64(args, (int64_t)reader.until_ns);
    unis_put_vi64(args, getpid());
    put_client(args);
    unis_put_vi64(args, (int64_t)reader.progress_ns);
    unis_put_u8(args, 0);
    unis_put_vi32(args, UNCOMPRESSED);
    unis_put_vi64(args, (int64_t)reader.tenant_id);
    unis_end_object(args, members);
}

/* What the server's result is borrowed from goes with the next call on the connection. */
static enum step ask(uint32_t pcode, void (*put_request)(struct unis_writer *), struct unis_reader *result_out)
{
    uint8_t bytes[256];
    struct unis_writer args = { bytes, sizeof bytes, 0, false };
    sealwire_obrpc_reply reply;
    sealwire_result result;

    put_request(&args);
    result = ob_call(pcode, reader.tenant_id, args.bytes, args.len, &reply);
    if (result != SEALWIRE_OK)
        return judge_failure(result);
    if (reply.rcode != 0)
        ob_die_of_server(reply.rcode, reply.message, reply.message_len);
    result_out->bytes = reply.result;
    result_out->len = reply.result_len;
    result_out->has_failed = false;
    return MORE;
}

/* --- replies --- */

static enum step find_start(void)
{
    static const char no_log[] = "no log of that time";
    struct unis_reader result, members, item;
    int64_t version;
    int32_t error, item_error;
    uint64_t count;
    enum step step = ask(REQ_START_LSN_BY_TS, put_start_request, &result);

    if (step != MORE)
        return step;
    members = unis_object(&result);
    version = unis_vi64(&members);
    error = unis_vi32(&members);
    count = unis_varint(&members);
    item = unis_object(&members);
    item_error = unis_vi32(&item);
    reader.position.lsn = unis_be64(&item);
    if (members.has_failed || item.has_failed || version != RPC_VERSION)
        ob_die(DAMAGED, "the reply about the beginning cannot be read");
    if (error != 0 || item_error != 0)
        ob_die_of_server(error != 0 ? error : item_error, no_log, strlen(no_log));
    if (count != 1)
        ob_die(DAMAGED, "one log stream was asked for, and %llu came back", (unsigned long long)count);
    reader.has_position = true;
    return MORE;
}

/* False where it is no reply, or one that lies about its lengths. */
static bool parse_fetched(struct unis_reader *result, struct fetched *fetched_out)
{
    struct unis_reader members = unis_object(result), status;
    int64_t version = unis_vi64(&members);
    uint64_t len;

    fetched_out->error = unis_vi32(&members);
    /* The error once more, for those who look for its cause. */
    unis_vi32(&members);
    fetched_out->ls_id = unis_be64(&members);
    fetched_out->feedback = unis_vi32(&members);
    status = unis_object(&members);
    fetched_out->is_end = unis_u8(&status) != 0;
    fetched_out->is_end |= unis_u8(&status) != 0;
    fetched_out->next_lsn = unis_be64(&members);
    fetched_out->group_count = unis_varint(&members);
    len = unis_varint(&members);
    if (len > LOG_LEN_MAX)
        return false;
    fetched_out->log.bytes = unis_take(&members, len);
    fetched_out->log.len = members.has_failed ? 0 : (size_t)len;
    fetched_out->log.has_failed = members.has_failed;
    return !members.has_failed && !status.has_failed && version == RPC_VERSION;
}

static void judge_feedback(int32_t feedback)
{
    switch (feedback) {
    case 1:
        ob_die(OB_REFUSED, "the log is not on this server");
    case 2:
        ob_die(OB_REFUSED, "the log stream is offline");
    case 3:
        ob_die(OB_REFUSED, "the archive ends here, and the log stream is not on this server");
    default:
        /* None, or a follower that lags behind. */
        return;
    }
}

/* Checks and writes group by group, up to the end or to the first that is wrong. */
static void take_groups(struct fetched *fetched)
{
    struct oblog_position position = reader.position;
    struct oblog_group group;
    const char *wrong = NULL;
    uint64_t count = 0;

    while (fetched->log.len > 0 && (wrong = oblog_next_group(&fetched->log, &position, &group)) == NULL) {
        count++;
        reader.entries += group.entry_count;
        reader.progress_ns = group.scn_ns;
        if (!group.is_padding)
            reader.bytes += fwrite(group.data, 1, group.data_len, stdout);
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        ob_die(OUTPUT_FAILED, "standard output: %s", strerror(errno));
    reader.position = position;
    reader.groups += count;
    if (wrong == NULL && count != fetched->group_count)
        wrong = "there are not as many groups as were promised";
    if (wrong != NULL)
        ob_die(DAMAGED, "at LSN %llu: %s", (unsigned long long)position.lsn, wrong);
}

static enum step fetch(void)
{
    static const char no_log[] = "the log cannot be fetched";
    struct unis_reader result;
    struct fetched fetched;
    size_t len;
    enum step step = ask(LS_FETCH_LOG2, put_fetch_request, &result);

    if (step != MORE)
        return step;
    if (!parse_fetched(&result, &fetched))
        ob_die(DAMAGED, "the reply with the log cannot be read");
    if (fetched.error != 0)
        ob_die_of_server(fetched.error, no_log, strlen(no_log));
    len = fetched.log.len;
    if (fetched.ls_id != reader.ls_id || fetched.next_lsn - reader.position.lsn != len)
        ob_die(DAMAGED, "the reply is about another place than was asked for");
    take_groups(&fetched);
    if (fetched.is_end)
        return END;
    if (len > 0) {
        reader.failures = 0;
        return MORE;
    }
    judge_feedback(fetched.feedback);
    return IDLE;
}

/* --- one connection --- */

static enum step read_until_broken(void)
{
    sealwire_result result = ob_open();
    enum step step = result == SEALWIRE_OK ? MORE : judge_failure(result);

    if (step == MORE && !reader.has_position)
        step = find_start();
    while (step == MORE || step == IDLE) {
        /* There was nothing new; a server that has something answers at once. */
        if (step == IDLE)
            pause_ms(100);
        step = fetch();
    }
    if (step == END)
        sealwire_conn_shutdown(ob.conn);
    ob_close();
    return step;
}
