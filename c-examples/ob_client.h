/*
 * What the clients of an OBServer's RPC port have in common, and none is about: flags, a
 * configuration, a connection, one call and its answer.
 */
#ifndef OB_CLIENT_H
#define OB_CLIENT_H

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sealwire.h>

/* Exit codes; a tool has more of its own from 4 on. */
enum { OB_DONE, OB_REFUSED, OB_USAGE, OB_UNREACHABLE };

/* A flag that has a value: "--name value". */
struct ob_flag {
    const char *name, *value_name, *words;
    const char **value;
};

/* What all of them have. */
static struct {
    const char *program, *host, *port;
    const char *method, *verify, *ca, *cert, *key, *server_name, *timeout;
    int timeout_ms;
    const sealwire_config *config;
    sealwire_conn *conn;
    int fd;
} ob = { .method = "ssl_io", .verify = "full", .timeout = "10000", .fd = -1 };

static const struct ob_flag ob_flags[] = {
    { "method", "METHOD", "ssl_io (default), ssl_no_encrypt (the call is in the clear), none (all is)", &ob.method },
    { "ca", "FILE", "the authorities that the server is judged by", &ob.ca },
    { "cert", "FILE", "our certificate, if the server demands one", &ob.cert },
    { "key", "FILE", "its key", &ob.key },
    { "verify", "full|ca", "ca: the server's name may be any (default: full)", &ob.verify },
    { "server-name", "NAME", "the name in the server's certificate (default: HOST)", &ob.server_name },
    { "timeout-ms", "MS", "how long each step is waited for: connecting, TLS, a call (default: 10000)", &ob.timeout },
    { NULL, NULL, NULL, NULL },
};

/* --- ends --- */

/* The connection first: it uses the descriptor until it is freed. */
static inline void ob_close(void)
{
    sealwire_conn_free(ob.conn);
    ob.conn = NULL;
    if (ob.fd >= 0)
        close(ob.fd);
    ob.fd = -1;
}

static inline void ob_end(void)
{
    ob_close();
    sealwire_config_free(ob.config);
}

__attribute__((noreturn, format(printf, 2, 3))) static inline void ob_die(int code, const char *format, ...)
{
    va_list words;
    fprintf(stderr, "%s: ", ob.program);
    va_start(words, format);
    vfprintf(stderr, format, words);
    va_end(words);
    fputc('\n', stderr);
    ob_end();
    exit(code);
}

/* --- flags --- */

static inline void ob_print_flags(const struct ob_flag *flag)
{
    for (; flag->name != NULL; flag++) {
        int len = printf("  --%s %s", flag->name, flag->value_name);
        printf("%*s%s\n", len < 28 ? 28 - len : 1, "", flag->words);
    }
}

static inline bool ob_take_flag(const struct ob_flag *flag, const char *name, const char *value)
{
    for (; flag->name != NULL; flag++)
        if (strcmp(flag->name, name) == 0) {
            *flag->value = value;
            return true;
        }
    return false;
}

static inline uint64_t ob_number(const char *name, const char *text, uint64_t max)
{
    char *end;
    unsigned long long number;
    errno = 0;
    number = strtoull(text, &end, 0);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number > max)
        ob_die(OB_USAGE, "%s: \"%s\" is no number from 0 to %llu", name, text, (unsigned long long)max);
    return number;
}

/* Takes flags, HOST and PORT, and gives the number of arguments before the rest. */
static inline int ob_parse(int argc, char **argv, const struct ob_flag *own_flags, const char *usage, const char *help)
{
    int at;
    ob.program = strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0];
    for (at = 1; at < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--help") == 0) {
            printf("%s\n\nFlags:\n", usage);
            ob_print_flags(own_flags);
            ob_print_flags(ob_flags);
            printf("\n%s", help);
            exit(OB_DONE);
        }
        if (at + 1 == argc)
            ob_die(OB_USAGE, "%s has no value; see --help", argv[at]);
        if (!ob_take_flag(own_flags, argv[at] + 2, argv[at + 1]) && !ob_take_flag(ob_flags, argv[at] + 2, argv[at + 1]))
            ob_die(OB_USAGE, "there is no flag %s; see --help", argv[at]);
    }
    if (argc - at < 2)
        ob_die(OB_USAGE, "HOST and PORT are missing; see --help");
    ob.host = argv[at];
    ob.port = argv[at + 1];
    ob.timeout_ms = (int)ob_number("--timeout-ms", ob.timeout, INT_MAX);
    if (ob.timeout_ms == 0)
        ob_die(OB_USAGE, "--timeout-ms is at least 1");
    return at + 2;
}

/* --- the configuration --- */

static inline unsigned ob_method(void)
{
    if (strcmp(ob.method, "none") == 0)
        return SEALWIRE_OBRPC_NONE;
    if (strcmp(ob.method, "ssl_no_encrypt") == 0)
        return SEALWIRE_OBRPC_SSL_NO_ENCRYPT;
    if (strcmp(ob.method, "ssl_io") != 0)
        ob_die(OB_USAGE, "there is no method \"%s\"; see --help", ob.method);
    return SEALWIRE_OBRPC_SSL_IO;
}

/* Nobody is believed without authorities, so they are asked for unless nobody is to be. */
static inline void ob_check_trust(void)
{
    if (ob.ca == NULL && ob_method() != SEALWIRE_OBRPC_NONE)
        ob_die(OB_USAGE, "--ca is missing: without it nobody can be believed");
    if ((ob.cert == NULL) != (ob.key == NULL))
        ob_die(OB_USAGE, "--cert and --key go together");
    if (strcmp(ob.verify, "full") != 0 && strcmp(ob.verify, "ca") != 0)
        ob_die(OB_USAGE, "--verify is full or ca");
}

static inline sealwire_result ob_set_trust(sealwire_config_builder *builder)
{
    sealwire_result result = SEALWIRE_OK;
    if (ob.ca != NULL)
        result = sealwire_config_builder_add_roots_file(builder, ob.ca);
    if (result == SEALWIRE_OK && ob.cert != NULL)
        result = sealwire_config_builder_set_identity_files(builder, ob.cert, ob.key);
    if (result == SEALWIRE_OK && strcmp(ob.verify, "ca") == 0)
        result = sealwire_config_builder_set_verify_ca(builder);
    return result;
}

/* `gid` is the group of the server's threads that the calls are for. */
static inline void ob_configure(uint64_t gid)
{
    sealwire_config_builder *builder = NULL;
    sealwire_result result;
    char why[512] = "";
    ob_check_trust();
    result = sealwire_config_builder_new_client(&builder);
    if (result == SEALWIRE_OK)
        result = ob_set_trust(builder);
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_set_obrpc_method(builder, ob_method());
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_set_obrpc_gid(builder, gid);
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_set_handshake_timeout_ms(builder, (uint32_t)ob.timeout_ms);
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_build(builder, &ob.config);
    sealwire_config_builder_error_text(builder, why, sizeof why);
    sealwire_config_builder_free(builder);
    if (result != SEALWIRE_OK)
        ob_die(OB_USAGE, "%s: %s", sealwire_result_name(result), why);
}

/* --- the connection --- */

/* As connect(), but for its patience; the descriptor blocks afterwards. */
static inline bool ob_connect(int fd, const struct addrinfo *address)
{
    struct pollfd polled = { fd, POLLOUT, 0 };
    int error = 0, flags = fcntl(fd, F_GETFL);
    socklen_t error_len = sizeof error;
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        if (errno != EINPROGRESS)
            return false;
        if (poll(&polled, 1, ob.timeout_ms) != 1) {
            errno = ETIMEDOUT;
            return false;
        }
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
        errno = error;
    }
    fcntl(fd, F_SETFL, flags);
    return error == 0;
}

/* A connected socket, or -1 and errno. */
static inline int ob_dial(void)
{
    struct addrinfo hints = { 0 }, *found, *each;
    int fd = -1, code;
    hints.ai_socktype = SOCK_STREAM;
    code = getaddrinfo(ob.host, ob.port, &hints, &found);
    if (code != 0)
        ob_die(OB_UNREACHABLE, "%s: %s", ob.host, gai_strerror(code));
    for (each = found; each != NULL && fd < 0; each = each->ai_next) {
        fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
        if (fd >= 0 && !ob_connect(fd, each)) {
            int error = errno;
            close(fd);
            fd = -1;
            errno = error;
        }
    }
    freeaddrinfo(found);
    return fd;
}

/* Connects and negotiates. The calls would do the latter too; so one knows that none was made where it fails. */
static inline sealwire_result ob_open(void)
{
    const char *name = ob.server_name != NULL ? ob.server_name : ob.host;
    sealwire_result result = sealwire_conn_new_client(ob.config, name, &ob.conn);
    if (result != SEALWIRE_OK)
        ob_die(OB_USAGE, "%s: %s", name, sealwire_result_name(result));
    ob.fd = ob_dial();
    if (ob.fd < 0)
        return SEALWIRE_ERR_IO;
    result = sealwire_conn_set_fd(ob.conn, ob.fd);
    return result == SEALWIRE_OK ? sealwire_conn_handshake(ob.conn) : result;
}

/* Makes one call and waits for its answer, of which the server's own result is in `reply_out`. */
static inline sealwire_result ob_call(uint32_t pcode, uint64_t tenant_id, const void *args, size_t args_len,
                                      sealwire_obrpc_reply *reply_out)
{
    uint64_t id;
    sealwire_result result;
    sealwire_obrpc_call call = { 0 };
    call.pcode = pcode;
    call.tenant_id = tenant_id;
    call.timeout_ms = (uint32_t)ob.timeout_ms;
    call.args = args;
    call.args_len = args_len;
    result = sealwire_conn_obrpc_call(ob.conn, &call, &id);
    if (result == SEALWIRE_OK)
        result = sealwire_conn_obrpc_next_reply(ob.conn, reply_out);
    if (result != SEALWIRE_OK)
        return result;
    /* Neither call is one that is answered in parts. */
    return reply_out->has_more ? SEALWIRE_ERR_FRAME : reply_out->status;
}

/* Ends with what the server said in place of a result, whatever bytes that is made of. */
__attribute__((noreturn)) static inline void ob_die_of_server(int32_t rcode, const char *message, size_t message_len)
{
    char words[512];
    size_t i, len = message_len < sizeof words - 1 ? message_len : sizeof words - 1;
    for (i = 0; i < len; i++)
        words[i] = iscntrl((unsigned char)message[i]) ? '?' : message[i];
    words[len] = '\0';
    ob_die(OB_REFUSED, "the server said no: %s (%d)%s%s", sealwire_obrpc_rcode_name(rcode), (int)rcode,
           len > 0 ? ": " : "", words);
}

/* What a failure of the connection is called. */
static inline const char *ob_why(sealwire_result result)
{
    static char why[640];
    char words[512] = "";
    sealwire_conn_error_text(ob.conn, words, sizeof words);
    if (ob.fd < 0)
        snprintf(words, sizeof words, "%s port %s: %s", ob.host, ob.port, strerror(errno));
    if (result == SEALWIRE_EOF)
        strcpy(words, "the server closed the connection");
    if (result == SEALWIRE_ERR_TIMEOUT && *words == '\0')
        strcpy(words, "the server did not answer in time");
    snprintf(why, sizeof why, "%s: %s", sealwire_result_name(result), words);
    return why;
}

#endif
