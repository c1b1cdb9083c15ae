/*
 * Both ends of OB-RPC, with the calls of tests/peers/obrpc.py.
 *
 *   obrpc serve METHODS CERT KEY CA             prints its port, serves one client, prints how it ended
 *   obrpc call PORT METHOD CERT KEY CA [strict|lax]
 *                                               makes every call at once, prints what each came to
 *
 * strict: the server has to name the method in the handshake. lax: it may end without close_notify.
 */
#include <arpa/inet.h>

#include "../../../c-examples/example.h"

enum { ECHO = 1, ERROR = 2, PARTS = 3, SILENT = 4, CALLS = 7, BULK_LEN = 100000 };

static const sealwire_config *config_of(int is_server, unsigned methods, char **files, const char *manner)
{
    sealwire_config_builder *builder;
    sealwire_result result;

    if (is_server) {
        sealwire_config_builder_new_server(&builder);
        result = sealwire_config_builder_set_obrpc_methods(builder, methods);
    } else {
        sealwire_config_builder_new_client(&builder);
        result = sealwire_config_builder_set_obrpc_method(builder, methods);
        if (result == SEALWIRE_OK)
            result = sealwire_config_builder_set_obrpc_gid(builder, 0x700000003);
    }
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_set_identity_files(builder, files[0], files[1]);
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_add_roots_file(builder, files[2]);
    if (result == SEALWIRE_OK && strcmp(manner, "strict") == 0)
        result = sealwire_config_builder_obrpc_require_binding(builder);
    if (result == SEALWIRE_OK && strcmp(manner, "lax") == 0)
        result = sealwire_config_builder_danger_obrpc_end_without_close_notify(builder);
    return build(builder, result);
}

static size_t put_varint(uint8_t *at, uint32_t value)
{
    size_t len = 0;
    for (; value > 0x7f; value >>= 7)
        at[len++] = (uint8_t)(value | 0x80);
    at[len++] = (uint8_t)value;
    return len;
}

static uint32_t varint(const uint8_t *at, size_t len)
{
    uint32_t value = 0;
    unsigned shift = 0;
    while (len-- > 0 && shift < 32) {
        value |= (uint32_t)(*at & 0x7f) << shift;
        shift += 7;
        if ((*at++ & 0x80) == 0)
            break;
    }
    return value;
}

/* --- the server --- */

/* How many parts of the one stream there is are left; it is the session's number too. */
static uint32_t parts_left;

static sealwire_result answer(sealwire_conn *conn, sealwire_obrpc_packet *request)
{
    uint8_t part[8];
    size_t len;
    switch (request->pcode) {
    case ECHO:
        if (request->flags & SEALWIRE_OBRPC_FLAG_NO_RESPONSE)
            printf("heard %.*s\n", (int)request->payload_len, (const char *)request->payload);
        return sealwire_conn_answer_obrpc_packet(conn, request, 0, request->payload, request->payload_len);
    case ERROR:
        return sealwire_conn_answer_obrpc_packet(
            conn, request, (int32_t)varint(request->payload, request->payload_len), NULL, 0);
    case SILENT:
        return SEALWIRE_OK;
    case PARTS:
        if (request->flags & SEALWIRE_OBRPC_FLAG_STREAM_LAST) {
            printf("aborted with %u left\n", (unsigned)parts_left);
            return sealwire_conn_answer_obrpc_packet(conn, request, 0, NULL, 0);
        }
        if (!(request->flags & SEALWIRE_OBRPC_FLAG_STREAM)) {
            request->session_id = varint(request->payload, request->payload_len);
            parts_left = (uint32_t)request->session_id;
        }
        len = put_varint(part, --parts_left);
        request->flags |= SEALWIRE_OBRPC_FLAG_STREAM;
        if (parts_left == 0)
            request->flags |= SEALWIRE_OBRPC_FLAG_STREAM_LAST;
        return sealwire_conn_answer_obrpc_packet(conn, request, 0, part, len);
    default:
        return sealwire_conn_answer_obrpc_packet(conn, request, -4118, NULL, 0);
    }
}

static int serve(char **argv)
{
    const sealwire_config *config = config_of(1, (unsigned)atoi(argv[0]), argv + 1, "");
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t address_len = sizeof address;
    sealwire_obrpc_packet request;
    sealwire_conn *conn;
    sealwire_result result;
    char why[512];
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &address_len) != 0)
        fail("listen", "no port");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    fd = accept(listener, NULL, NULL);
    sealwire_conn_new_server(config, &conn);
    sealwire_conn_set_fd(conn, fd);
    do {
        result = sealwire_conn_next_obrpc_packet(conn, &request);
        if (result == SEALWIRE_OK)
            result = answer(conn, &request);
    } while (result == SEALWIRE_OK);
    sealwire_conn_shutdown(conn);
    sealwire_conn_error_text(conn, why, sizeof why);
    printf("method %u, %s %s\n", sealwire_conn_obrpc_method(conn), sealwire_result_name(result), why);
    sealwire_conn_free(conn);
    sealwire_config_free(config);
    close(fd);
    close(listener);
    return 0;
}

/* --- the client --- */

static uint64_t ids[CALLS];
static char said[CALLS][256];

static void say(uint64_t id, const char *text)
{
    for (size_t at = 0; at < CALLS; at++) {
        if (ids[at] == id && strlen(said[at]) + strlen(text) < sizeof said[at])
            strcat(said[at], text);
    }
}

static void make_call(sealwire_conn *conn, size_t at, uint32_t pcode, uint16_t flags, const void *args, size_t len)
{
    sealwire_obrpc_call call = { .pcode = pcode, .flags = flags, .args = args, .args_len = len };
    sealwire_result result;
    call.timeout_ms = pcode == SILENT ? 200 : HANDSHAKE_TIMEOUT_MS;
    result = sealwire_conn_obrpc_call(conn, &call, &ids[at]);
    if (result != SEALWIRE_OK)
        fail_conn("call", result, conn);
    snprintf(said[at], sizeof said[at], "%s:", sealwire_obrpc_pcode_name(pcode));
}

/* Takes one answer; returns how many calls are over by it. */
static int take_reply(sealwire_conn *conn, const uint8_t *bulk)
{
    sealwire_obrpc_reply reply;
    sealwire_result result = sealwire_conn_obrpc_next_reply(conn, &reply);
    char text[256];

    if (result != SEALWIRE_OK)
        fail_conn("reply", result, conn);
    if (reply.status != SEALWIRE_OK) {
        say(reply.call_id, sealwire_result_name(reply.status));
        return 1;
    }
    if (reply.result_len == BULK_LEN)
        snprintf(text, sizeof text, memcmp(reply.result, bulk, BULK_LEN) == 0 ? " bulk" : " damage");
    else if (reply.call_id == ids[1])
        snprintf(text, sizeof text, " %.*s", (int)reply.result_len, (const char *)reply.result);
    else if (reply.result_len > 0)
        snprintf(text, sizeof text, " %u", (unsigned)varint(reply.result, reply.result_len));
    else
        snprintf(text, sizeof text, " %s %.*s", sealwire_obrpc_rcode_name(reply.rcode), (int)reply.message_len,
                 reply.message_len > 0 ? reply.message : "");
    say(reply.call_id, text);
    if (!reply.has_more)
        return 1;
    if (reply.call_id == ids[4]) {
        result = sealwire_conn_obrpc_cancel(conn, reply.call_id);
        if (result != SEALWIRE_OK)
            fail_conn("cancel", result, conn);
        return 1;
    }
    result = sealwire_conn_obrpc_next_part(conn, reply.call_id);
    if (result != SEALWIRE_OK)
        fail_conn("next part", result, conn);
    return 0;
}

static int call(char **argv, const char *manner)
{
    static uint8_t bulk[BULK_LEN];
    unsigned method = (unsigned)atoi(argv[1]);
    const sealwire_config *config = config_of(0, method, argv + 2, manner);
    sealwire_conn *conn;
    sealwire_obrpc_reply reply;
    sealwire_result result;
    uint8_t rcode[8], parts[] = { 3 };
    size_t at, rcode_len = put_varint(rcode, (uint32_t)-4012);
    int fd = dial("127.0.0.1", argv[0]), left;
    char why[512];

    for (at = 0; at < BULK_LEN; at++)
        bulk[at] = (uint8_t)(at * 7);
    sealwire_conn_new_client(config, "localhost", &conn);
    sealwire_conn_set_fd(conn, fd);
    make_call(conn, 0, ECHO, 0, bulk, sizeof bulk);
    make_call(conn, 1, ECHO, 0, "hello", 5);
    make_call(conn, 2, ERROR, 0, rcode, rcode_len);
    make_call(conn, 3, PARTS, 0, parts, sizeof parts);
    for (left = 4; left > 0;)
        left -= take_reply(conn, bulk);
    make_call(conn, 4, PARTS, 0, parts, sizeof parts);
    make_call(conn, 5, ECHO, SEALWIRE_OBRPC_FLAG_NO_RESPONSE, "heard?", 6);
    make_call(conn, 6, SILENT, 0, NULL, 0);
    for (left = 2; left > 0;)
        left -= take_reply(conn, bulk);
    for (at = 0; at < CALLS; at++)
        puts(said[at]);
    sealwire_conn_shutdown(conn);
    shutdown(fd, SHUT_WR);
    do
        result = sealwire_conn_obrpc_next_reply(conn, &reply);
    while (result == SEALWIRE_WANT_READ);
    sealwire_conn_error_text(conn, why, sizeof why);
    printf("method %u, %s %s\n", sealwire_conn_obrpc_method(conn), sealwire_result_name(result), why);
    sealwire_conn_free(conn);
    sealwire_config_free(config);
    close(fd);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "serve") == 0)
        return serve(argv + 2);
    if (argc >= 7 && strcmp(argv[1], "call") == 0)
        return call(argv + 2, argc > 7 ? argv[7] : "");
    return 2;
}
