/*
 * A server with the two ports of an OBServer, on one engine.
 *
 *     server --cert FILE --key FILE --ca FILE --accounts FILE --mysql ADDRESS:PORT
 *            --rpc ADDRESS:PORT [--rpc-methods METHOD,...]
 *
 * The MySQL port begins TLS in its stream and authenticates by mysql_native_password.
 * Which clients an account takes is in the file of accounts, one a line, with tabs
 * between the fields: the user, the password, and what its connections must have.
 *
 *     one-way   secret
 *     any-cert  secret   x509
 *     alice     secret   cipher=TLS_AES_256_GCM_SHA384   issuer=/CN=CA   subject=/CN=alice
 *
 * The RPC port negotiates first. METHOD is ssl_io, which alone is the default,
 * ssl_no_encrypt or none; whoever is to be authenticated shows a certificate.
 *
 * It prints its ports once it listens, tells of its sessions on standard error,
 * and ends in order by SIGTERM.
 */
#include <ctype.h>
#include <getopt.h>
#include <signal.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "example.h"

enum {
    CLIENT_LONG_PASSWORD = 1 << 0,
    CLIENT_CONNECT_WITH_DB = 1 << 3,
    CLIENT_PROTOCOL_41 = 1 << 9,
    CLIENT_TRANSACTIONS = 1 << 13,
    CLIENT_SECURE_CONNECTION = 1 << 15,
    CLIENT_PLUGIN_AUTH = 1 << 19,
    COM_QUIT = 1,
    COM_INIT_DB = 2,
    COM_QUERY = 3,
    COM_PING = 14,
    ER_HANDSHAKE = 1043,
    ER_ACCESS_DENIED = 1045,
    ER_UNKNOWN_COMMAND = 1047,
    ER_PARSE = 1064,
    SERVER_STATUS_AUTOCOMMIT = 2,
    UTF8MB4_GENERAL_CI = 45,
    TYPE_VAR_STRING = 0xfd,
    PROOF_LEN = 20,
    OB_SET_CONFIG = 0x106,
    OB_DESERIALIZE_ERROR = -4034,
    OB_UNKNOWN_CONNECTION = -4174,
    OB_UNKNOWN_PACKET = -4118,
    /* From the first byte to a login, and from SIGTERM to the last byte. */
    LOGIN_TIMEOUT_S = 10,
    END_TIMEOUT_S = 5
};

#define PLUGIN "mysql_native_password"
#define VERSION "5.7.25-sealwire"

struct account {
    char user[64], password[64];
    struct account *next;
};

struct session;

/* What a listener and its sessions have in common. */
struct port {
    const char *name;
    /* Goes on with a session as far as its peer has come. */
    void (*go_on)(struct session *session);
};

struct session {
    sealwire_conn *conn;
    const struct port *port;
    enum { GREETING, LOGIN, SWITCHED, COMMANDS } step;
    sealwire_mysql_greeting greeting;
    char user[64];
    uint8_t sequence_id;
    time_t began_s;
    bool is_over;
    struct session *next, **place, *next_over;
};

static void go_on_mysql(struct session *session);
static void go_on_rpc(struct session *session);

static const struct port mysql_port = { "mysql", go_on_mysql }, rpc_port = { "rpc", go_on_rpc };

static struct account *accounts;
static struct session *sessions, *over;
static sealwire_engine *engine;
static volatile sig_atomic_t is_stopped;

/* Sessions */

static time_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void begin(sealwire_conn *conn, const struct port *port)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        fail("session", "no memory");
    session->conn = conn;
    session->port = port;
    session->began_s = now_s();
    session->next = sessions;
    session->place = &sessions;
    if (sessions != NULL)
        sessions->place = &session->next;
    sessions = session;
    sealwire_conn_set_user_data(conn, session);
}

/* Ends a session behind what it was told. Events of the same turn may name it still: it is freed behind them. */
static void leave(struct session *session)
{
    if (session->is_over)
        return;
    session->is_over = true;
    session->next_over = over;
    over = session;
    sealwire_conn_shutdown(session->conn);
}

static void free_those_that_are_over(void)
{
    while (over != NULL) {
        struct session *session = over;
        over = session->next_over;
        *session->place = session->next;
        if (session->next != NULL)
            session->next->place = session->place;
        sealwire_conn_free(session->conn);
        free(session);
    }
}

static void leave_those_that_do_not_log_in(void)
{
    time_t limit_s = now_s() - LOGIN_TIMEOUT_S;
    struct session *session;
    for (session = sessions; session != NULL; session = session->next)
        if (session->step != COMMANDS && session->began_s < limit_s)
            leave(session);
}

/* One line, whatever names and texts of the peer are in it. */
static void say(const struct session *session, const char *what, const char *why)
{
    char peer[80], line[1024], *at;
    sealwire_conn_peer_address(session->conn, peer, sizeof peer);
    snprintf(line, sizeof line, "%s: %s: %s: %s", session->port->name, peer, what, why);
    for (at = line; *at != '\0'; at++)
        if (iscntrl((unsigned char)*at))
            *at = '?';
    fprintf(stderr, "%s\n", line);
}

/* What the library says is for this log, and never for the peer. */
static void say_error(const struct session *session, const char *what)
{
    char why[512];
    sealwire_conn_error_text(session->conn, why, sizeof why);
    say(session, what, why);
}

/* What a session is after a call that got no further. */
static void settle(struct session *session, sealwire_result result)
{
    if (result < 0)
        say_error(session, sealwire_result_name(result));
    if (result < 0 || result == SEALWIRE_EOF)
        leave(session);
}

/* MySQL: packets */

static void put(struct session *session, const void *payload, size_t len)
{
    sealwire_mysql_packet packet = { payload, len, session->sequence_id++ };
    /* Whoever goes on asking and takes no answers is left. */
    if (sealwire_conn_write_mysql_packet(session->conn, &packet) != SEALWIRE_OK)
        leave(session);
}

static void put_ok(struct session *session)
{
    static const uint8_t ok[] = { 0, 0, 0, SERVER_STATUS_AUTOCOMMIT, 0, 0, 0 };
    put(session, ok, sizeof ok);
}

static void put_error(struct session *session, int code, const char *state, const char *text)
{
    char error[256];
    int len = snprintf(error, sizeof error, "\xff%c%c#%s%s", code & 0xff, code >> 8, state, text);
    put(session, error, len < (int)sizeof error ? (size_t)len : sizeof error - 1);
}

static uint8_t *add_text(uint8_t *at, const char *text)
{
    size_t len = strlen(text);
    *at++ = (uint8_t)len;
    memcpy(at, text, len);
    return at + len;
}

/* A table of one row. */
static void put_row(struct session *session, size_t columns, const char *const names[], const char *const values[])
{
    static const uint8_t end[] = { 0xfe, 0, 0, SERVER_STATUS_AUTOCOMMIT, 0 };
    static const uint8_t kind[] = { 12, UTF8MB4_GENERAL_CI, 0, 0xff, 0, 0, 0, TYPE_VAR_STRING, 0, 0, 0, 0, 0 };
    uint8_t payload[512] = { (uint8_t)columns }, *at;
    size_t i;

    put(session, payload, 1);
    for (i = 0; i < columns; i++) {
        /* The catalog, the schema, the table and the column, these two under two names. */
        at = add_text(payload, "def");
        memset(at, 0, 3);
        at = add_text(at + 3, names[i]);
        *at++ = 0;
        memcpy(at, kind, sizeof kind);
        put(session, payload, (size_t)(at - payload) + sizeof kind);
    }
    put(session, end, sizeof end);
    for (at = payload, i = 0; i < columns; i++)
        at = add_text(at, values[i]);
    put(session, payload, (size_t)(at - payload));
    put(session, end, sizeof end);
}

/* MySQL: logins */

static void greet(struct session *session)
{
    sealwire_mysql_greeting *greeting = &session->greeting;
    static uint32_t thread_id;
    size_t i;

    greeting->capabilities = CLIENT_LONG_PASSWORD | CLIENT_CONNECT_WITH_DB | CLIENT_PROTOCOL_41 | CLIENT_TRANSACTIONS |
                             CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH;
    greeting->thread_id = ++thread_id;
    greeting->status = SERVER_STATUS_AUTOCOMMIT;
    greeting->collation = UTF8MB4_GENERAL_CI;
    strcpy(greeting->server_version, VERSION);
    strcpy(greeting->plugin, PLUGIN);
    if (getrandom(greeting->nonce, sizeof greeting->nonce, 0) != sizeof greeting->nonce)
        fail("getrandom", "no randomness");
    /* Clients end it at a NUL. */
    for (i = 0; i < sizeof greeting->nonce; i++)
        greeting->nonce[i] = (uint8_t)('!' + greeting->nonce[i] % 94);
}

/* Where the client is, as accounts name it: "192.0.2.7:50123", "[2001:db8::7]:50123", or "unix". */
static void host_of(const struct session *session, char *host, size_t len)
{
    char peer[80], *end;
    sealwire_conn_peer_address(session->conn, peer, sizeof peer);
    end = strrchr(peer, ':');
    if (end == NULL) {
        snprintf(host, len, "localhost");
        return;
    }
    *end = '\0';
    snprintf(host, len, "%.*s", (int)strcspn(peer + (*peer == '['), "]"), peer + (*peer == '['));
}

static void refuse(struct session *session, bool has_password)
{
    char text[256], host[80];
    host_of(session, host, sizeof host);
    snprintf(text, sizeof text, "Access denied for user '%s'@'%s' (using password: %s)", session->user, host,
             has_password ? "YES" : "NO");
    put_error(session, ER_ACCESS_DENIED, "28000", text);
    leave(session);
}

/* Whether the proof is that of the account's password. A server that means it keeps no passwords: what it compares is
 * made from SHA1(SHA1(password)). */
static bool is_proved(const struct session *session, const uint8_t *proof, size_t proof_len)
{
    const struct account *account = accounts;
    /* A tenant and a cluster may follow the user. */
    size_t user_len = strcspn(session->user, "@#"), expected_len, i;
    uint8_t expected[PROOF_LEN], difference = 0;

    while (account != NULL && !(strlen(account->user) == user_len && !memcmp(account->user, session->user, user_len)))
        account = account->next;
    if (account == NULL || proof_len != PROOF_LEN ||
        sealwire_mysql_prove_password(PLUGIN, account->password, session->greeting.nonce, expected, sizeof expected,
                                      &expected_len) != SEALWIRE_OK)
        return false;
    for (i = 0; i < PROOF_LEN; i++)
        difference |= proof[i] ^ expected[i];
    return difference == 0;
}

/* The password counts, and how the account came. The client cannot tell which of the two was wrong. */
static void judge(struct session *session, const uint8_t *proof, size_t proof_len)
{
    char host[80], cipher[80];
    host_of(session, host, sizeof host);
    if (!is_proved(session, proof, proof_len)) {
        say(session, session->user, "wrong password");
        refuse(session, proof_len > 0);
    } else if (sealwire_conn_check_require(session->conn, session->user, host, NULL, NULL) != SEALWIRE_OK) {
        say_error(session, session->user);
        refuse(session, proof_len > 0);
    } else {
        sealwire_conn_openssl_suite(session->conn, cipher, sizeof cipher);
        say(session, session->user, cipher);
        session->step = COMMANDS;
        put_ok(session);
    }
}

/* A text that ends by NUL, of which the end is given back; NULL where it does not end. */
static const uint8_t *text_end(const uint8_t *at, const uint8_t *end)
{
    return at == NULL || at >= end ? NULL : memchr(at, 0, (size_t)(end - at));
}

/* HandshakeResponse41: flags, the longest packet, the collation and 23 bytes of nothing; then text. */
static void log_in(struct session *session, const sealwire_mysql_packet *packet)
{
    static const char change_plugin[] = "\xfe" PLUGIN;
    const uint8_t *at = packet->payload + 32, *end = packet->payload + packet->payload_len, *proof, *plugin;
    uint8_t change[sizeof change_plugin + PROOF_LEN + 1] = { 0 };
    const uint8_t *user_end = packet->payload_len > 32 ? text_end(at, end) : NULL;

    if (user_end == NULL || user_end + 1 >= end || end - user_end - 2 < user_end[1]) {
        put_error(session, ER_HANDSHAKE, "08S01", "Bad handshake");
        leave(session);
        return;
    }
    snprintf(session->user, sizeof session->user, "%s", (const char *)at);
    proof = user_end + 2;
    plugin = proof + user_end[1];
    if (packet->payload[0] & CLIENT_CONNECT_WITH_DB) {
        plugin = text_end(plugin, end);
        plugin = plugin == NULL ? NULL : plugin + 1;
    }
    if (text_end(plugin, end) != NULL && strcmp((const char *)plugin, PLUGIN) == 0) {
        judge(session, proof, user_end[1]);
        return;
    }
    /* A client that prefers another plugin is asked to change to this one. */
    memcpy(change, change_plugin, sizeof change_plugin);
    memcpy(change + sizeof change_plugin, session->greeting.nonce, PROOF_LEN);
    session->step = SWITCHED;
    put(session, change, sizeof change);
}

/* MySQL: commands */

static bool begins_with(const char *text, const char *word)
{
    return strncasecmp(text, word, strlen(word)) == 0;
}

static void query(struct session *session, const char *sql)
{
    static const char *const names[] = { "Variable_name", "Value" };
    char cipher[80];
    const char *values[] = { "Ssl_cipher", cipher }, *one = "1", *variable = "@@version", *version = VERSION;

    if (strcasecmp(sql, "SELECT 1") == 0) {
        put_row(session, 1, &one, &one);
    } else if (strcasecmp(sql, "SELECT @@version") == 0) {
        put_row(session, 1, &variable, &version);
    } else if (strcasecmp(sql, "SHOW STATUS LIKE 'Ssl_cipher'") == 0) {
        sealwire_conn_openssl_suite(session->conn, cipher, sizeof cipher);
        put_row(session, 2, names, values);
    } else if (begins_with(sql, "SET ") || begins_with(sql, "COMMIT") || begins_with(sql, "ROLLBACK")) {
        put_ok(session);
    } else {
        put_error(session, ER_PARSE, "42000", "This server answers SELECT 1, @@version and Ssl_cipher only");
    }
}

static void command(struct session *session, const sealwire_mysql_packet *packet)
{
    char sql[256];
    size_t len = packet->payload_len > 0 ? packet->payload_len - 1 : 0;

    switch (packet->payload_len > 0 ? packet->payload[0] : 0) {
    case COM_QUIT:
        leave(session);
        break;
    case COM_PING:
    case COM_INIT_DB:
        put_ok(session);
        break;
    case COM_QUERY:
        snprintf(sql, sizeof sql, "%.*s", len < sizeof sql ? (int)len : 0, (const char *)packet->payload + 1);
        query(session, sql);
        break;
    default:
        put_error(session, ER_UNKNOWN_COMMAND, "08S01", "Unknown command");
    }
}

static void go_on_mysql(struct session *session)
{
    sealwire_mysql_packet packet;
    sealwire_result result = SEALWIRE_OK;

    if (session->step == GREETING) {
        if (session->greeting.thread_id == 0)
            greet(session);
        result = sealwire_conn_mysql_accept(session->conn, &session->greeting);
        if (result == SEALWIRE_OK)
            session->step = LOGIN;
    }
    while (result == SEALWIRE_OK && !session->is_over) {
        result = sealwire_conn_next_mysql_packet(session->conn, &packet);
        if (result != SEALWIRE_OK)
            break;
        session->sequence_id = (uint8_t)(packet.sequence_id + 1);
        if (session->step == LOGIN)
            log_in(session, &packet);
        else if (session->step == SWITCHED)
            judge(session, packet.payload, packet.payload_len);
        else
            command(session, &packet);
    }
    settle(session, result);
}

/* RPC */

/* One text: its length in groups of seven bits, its bytes, and a NUL. */
static int32_t set_config(struct session *session, const sealwire_obrpc_packet *request)
{
    const uint8_t *at = request->payload, *end = request->payload + request->payload_len;
    while (at < end && *at >= 0x80)
        at++;
    if (end - at < 2 || end[-1] != '\0')
        return OB_DESERIALIZE_ERROR;
    say(session, "SET_CONFIG", (const char *)at + 1);
    return 0;
}

static void go_on_rpc(struct session *session)
{
    static const char *const names[] = { "", "none", "ssl_no_encrypt", "", "ssl_io" };
    sealwire_obrpc_packet request;
    sealwire_result result = SEALWIRE_OK;
    char subject[256];

    if (session->step != COMMANDS && sealwire_conn_obrpc_method(session->conn) != 0) {
        sealwire_conn_peer_subject(session->conn, subject, sizeof subject);
        say(session, names[sealwire_conn_obrpc_method(session->conn)], subject);
        session->step = COMMANDS;
    }
    while (result == SEALWIRE_OK && !session->is_over) {
        int32_t rcode = OB_UNKNOWN_PACKET;
        bool is_authenticated = sealwire_conn_obrpc_method(session->conn) != SEALWIRE_OBRPC_NONE;
        result = sealwire_conn_next_obrpc_packet(session->conn, &request);
        if (result != SEALWIRE_OK)
            break;
        if (request.pcode == OB_SET_CONFIG)
            rcode = is_authenticated ? set_config(session, &request) : OB_UNKNOWN_CONNECTION;
        if (sealwire_conn_answer_obrpc_packet(session->conn, &request, rcode, NULL, 0) != SEALWIRE_OK)
            leave(session);
    }
    settle(session, result);
}

/* The program */

static void stop(int signal_number)
{
    (void)signal_number;
    is_stopped = 1;
    sealwire_engine_wake(engine);
}

static void handle_event(const sealwire_event *event)
{
    struct session *session = event->user_data;
    char why[512];

    switch (event->kind) {
    case SEALWIRE_EVENT_ACCEPTED:
        begin(event->conn, event->user_data);
        break;
    case SEALWIRE_EVENT_READY:
    case SEALWIRE_EVENT_READABLE:
        if (!session->is_over)
            session->port->go_on(session);
        break;
    case SEALWIRE_EVENT_CLOSED:
        if (!session->is_over && event->result != SEALWIRE_OK)
            say_error(session, sealwire_result_name(event->result));
        leave(session);
        break;
    case SEALWIRE_EVENT_ACCEPT_PAUSED:
        sealwire_engine_error_text(engine, why, sizeof why);
        fprintf(stderr, "nobody is accepted for now: %s\n", why);
        break;
    default:
        break;
    }
}

static void turn(int timeout_ms)
{
    sealwire_event events[64];
    size_t count, i;
    char why[512];

    if (sealwire_engine_wait(engine, timeout_ms, events, 64, &count) < 0) {
        sealwire_engine_error_text(engine, why, sizeof why);
        fail("wait", why);
    }
    for (i = 0; i < count; i++)
        handle_event(&events[i]);
    leave_those_that_do_not_log_in();
    free_those_that_are_over();
}

/* One line of the file of accounts: who it is, and what the library is to demand of its connections. */
static sealwire_result add_account(sealwire_config_builder *builder, char *line)
{
    sealwire_require require = { 0 };
    struct account *account = calloc(1, sizeof *account);
    char *field = strtok(line, "\t\n"), *password = strtok(NULL, "\t\n");

    if (account == NULL || field == NULL || password == NULL)
        fail("accounts", "a line needs a user and a password");
    snprintf(account->user, sizeof account->user, "%s", field);
    snprintf(account->password, sizeof account->password, "%s", password);
    account->next = accounts;
    accounts = account;
    require.size = sizeof require;
    require.user = account->user;
    require.ssl = 1;
    while ((field = strtok(NULL, "\t\n")) != NULL) {
        if (strcmp(field, "x509") == 0)
            require.x509 = 1;
        else if (begins_with(field, "cipher="))
            require.cipher = field + 7;
        else if (begins_with(field, "issuer="))
            require.issuer = field + 7;
        else if (begins_with(field, "subject="))
            require.subject = field + 8;
        else
            fail(field, "is nothing that an account can require");
    }
    return sealwire_config_builder_add_require(builder, &require);
}

static sealwire_result add_accounts(sealwire_config_builder *builder, const char *path)
{
    FILE *file = fopen(path, "r");
    char line[1024];
    sealwire_result result = sealwire_config_builder_set_require_dialect(builder, SEALWIRE_DIALECT_OCEANBASE);

    if (file == NULL)
        fail(path, "cannot be opened");
    while (result == SEALWIRE_OK && fgets(line, sizeof line, file) != NULL)
        result = add_account(builder, line);
    fclose(file);
    return result;
}

static unsigned method(const char *name)
{
    if (strcmp(name, "ssl_io") == 0)
        return SEALWIRE_OBRPC_SSL_IO;
    if (strcmp(name, "ssl_no_encrypt") == 0)
        return SEALWIRE_OBRPC_SSL_NO_ENCRYPT;
    if (strcmp(name, "none") != 0)
        fail(name, "is no method");
    return SEALWIRE_OBRPC_NONE;
}

static sealwire_result add_methods(sealwire_config_builder *builder, char *names)
{
    unsigned methods = 0;
    sealwire_result result = sealwire_config_builder_set_client_cert(builder, SEALWIRE_CLIENT_CERT_REQUIRED);
    char *name;

    for (name = strtok(names, ","); name != NULL; name = strtok(NULL, ","))
        methods |= method(name);
    /* OceanBase's ends never send one. */
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_danger_obrpc_end_without_close_notify(builder);
    return result == SEALWIRE_OK ? sealwire_config_builder_set_obrpc_methods(builder, methods) : result;
}

/* Clients may show a certificate of the authorities; who must is the accounts' to say, or the RPC port's. */
static sealwire_config_builder *server_builder(const char *cert, const char *key, const char *ca)
{
    sealwire_config_builder *builder;
    char why[512];

    if (sealwire_config_builder_new_server(&builder) != SEALWIRE_OK)
        fail("configuration", "no memory");
    if (sealwire_config_builder_set_identity_files(builder, cert, key) != SEALWIRE_OK ||
        sealwire_config_builder_add_roots_file(builder, ca) != SEALWIRE_OK) {
        sealwire_config_builder_error_text(builder, why, sizeof why);
        fail("configuration", why);
    }
    return builder;
}

static sealwire_listener *listen_on(const char *address, const sealwire_config *config, const struct port *port,
                                    bool is_plain_first)
{
    sealwire_listen_options options = { 0 };
    sealwire_listener *listener = NULL;
    char why[512];

    options.size = sizeof options;
    options.user_data = (void *)port;
    options.plaintext_first = is_plain_first;
    if (sealwire_engine_listen(engine, config, address, &options, &listener) != SEALWIRE_OK) {
        sealwire_engine_error_text(engine, why, sizeof why);
        fail(address, why);
    }
    sealwire_config_free(config);
    printf("%s %d\n", port->name, sealwire_listener_port(listener));
    return listener;
}

/* Sessions end behind what they were told, as far as their peers take it in time. */
static void end(void)
{
    time_t limit_s = now_s() + END_TIMEOUT_S;
    struct account *account;

    while ((sessions != NULL || sealwire_engine_conn_count(engine) > 0) && now_s() < limit_s) {
        struct session *session;
        for (session = sessions; session != NULL; session = session->next)
            leave(session);
        turn(100);
    }
    signal(SIGTERM, SIG_IGN);
    sealwire_engine_free(engine);
    while ((account = accounts) != NULL) {
        accounts = account->next;
        free(account);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "cert", required_argument, NULL, 'c' },     { "key", required_argument, NULL, 'k' },
        { "ca", required_argument, NULL, 'a' },       { "accounts", required_argument, NULL, 'u' },
        { "mysql", required_argument, NULL, 'm' },    { "rpc", required_argument, NULL, 'r' },
        { "rpc-methods", required_argument, NULL, 'n' }, { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    char *given[128] = { 0 }, ssl_io[] = "ssl_io";
    sealwire_listener *mysql, *rpc;
    sealwire_config_builder *builder;
    struct sigaction action = { 0 };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        given[option & 127] = optarg != NULL ? optarg : ssl_io;
    if (given['h'] || given['?'] || optind < argc || !given['c'] || !given['k'] || !given['a'] || !given['u'] ||
        !given['m'] || !given['r']) {
        fprintf(given['h'] ? stdout : stderr,
                "usage: server --cert FILE --key FILE --ca FILE --accounts FILE --mysql ADDRESS:PORT\n"
                "              --rpc ADDRESS:PORT [--rpc-methods METHOD,...]\n"
                "METHOD is ssl_io, ssl_no_encrypt or none. SIGTERM ends the server.\n");
        return given['h'] ? 0 : 2;
    }
    if (sealwire_engine_new(NULL, &engine) != SEALWIRE_OK)
        fail("engine", "cannot be made");
    action.sa_handler = stop;
    sigaction(SIGTERM, &action, NULL);

    builder = server_builder(given['c'], given['k'], given['a']);
    mysql = listen_on(given['m'], build(builder, add_accounts(builder, given['u'])), &mysql_port, true);
    builder = server_builder(given['c'], given['k'], given['a']);
    rpc = listen_on(given['r'], build(builder, add_methods(builder, given['n'] ? given['n'] : ssl_io)), &rpc_port,
                    false);
    fflush(stdout);
    while (!is_stopped)
        turn(1000);
    sealwire_listener_free(mysql);
    sealwire_listener_free(rpc);
    end();
    return 0;
}
