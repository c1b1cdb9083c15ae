/*
 * A MySQL client from the socket up: connects, begins TLS, logs in, asks one question.
 *
 *   mysql_ping HOST PORT USER CA-FILE     the password is read from MYSQL_PWD
 *
 * What is Sealwire's here is the transport: the socket, the login and the query are the program's
 * own, as in any driver. Works with MySQL, MariaDB and OceanBase.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sealwire.h>

enum {
    CLIENT_PROTOCOL_41 = 1 << 9,
    CLIENT_SSL = 1 << 11,
    CLIENT_SECURE_CONNECTION = 1 << 15,
    CLIENT_PLUGIN_AUTH = 1 << 19,
    CAPABILITIES = CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH,
    UTF8MB4_GENERAL_CI = 45,
    COM_QUERY = 3,
    PACKET_OK = 0x00,
    PACKET_AUTH_MORE_DATA = 0x01,
    PACKET_AUTH_SWITCH = 0xfe,
    PACKET_ERR = 0xff,
    FULL_AUTHENTICATION = 4
};

static sealwire_conn *conn;

static void die(const char *what, sealwire_result result)
{
    char text[512] = "";
    sealwire_conn_error_text(conn, text, sizeof text);
    fprintf(stderr, "mysql_ping: %s: %s: %s\n", what, sealwire_result_name(result), text);
    exit(1);
}

/* An error packet: its number, perhaps an SQLSTATE, and words. */
static void die_of_server(const sealwire_mysql_packet *packet)
{
    const uint8_t *at = packet->payload + 3, *end = packet->payload + packet->payload_len;
    if (packet->payload_len < 3) {
        fprintf(stderr, "mysql_ping: the server's error cannot be read\n");
        exit(1);
    }
    if (end - at >= 6 && *at == '#')
        at += 6;
    fprintf(stderr, "mysql_ping: the server says: %u %.*s\n",
            packet->payload[1] | packet->payload[2] << 8, (int)(end - at), (const char *)at);
    exit(1);
}

static sealwire_mysql_packet next_packet(void)
{
    sealwire_mysql_packet packet;
    sealwire_result result = sealwire_conn_next_mysql_packet(conn, &packet);
    if (result != SEALWIRE_OK)
        die("read", result);
    if (packet.payload_len == 0) {
        fprintf(stderr, "mysql_ping: the server sent an empty packet\n");
        exit(1);
    }
    if (packet.payload[0] == PACKET_ERR)
        die_of_server(&packet);
    return packet;
}

static void write_packet(const void *payload, size_t len, uint8_t sequence_id)
{
    sealwire_mysql_packet packet = { payload, len, sequence_id };
    sealwire_result result = sealwire_conn_write_mysql_packet(conn, &packet);
    if (result != SEALWIRE_OK)
        die("write", result);
}

static void prove(const char *plugin, const char *password, const uint8_t *nonce,
                  uint8_t proof[32], size_t *proof_len)
{
    *proof_len = 0;
    if (*password == '\0')
        return;
    sealwire_result result =
        sealwire_mysql_prove_password(plugin, password, nonce, proof, 32, proof_len);
    if (result != SEALWIRE_OK) {
        fprintf(stderr, "mysql_ping: the plugin %s is not spoken here\n", plugin);
        exit(1);
    }
}

/* HandshakeResponse41. */
static void log_in(const sealwire_mysql_greeting *greeting, const char *user, const char *password)
{
    uint8_t login[256] = { 0 }, proof[32];
    size_t at, proof_len;
    uint32_t capabilities = CAPABILITIES | CLIENT_SSL;
    const char *plugin = strcmp(greeting->plugin, "caching_sha2_password") == 0
                             ? greeting->plugin
                             : "mysql_native_password";

    for (at = 0; at < 4; at++)
        login[at] = (uint8_t)(capabilities >> 8 * at);
    memset(login + 4, 0xff, 3);
    login[8] = UTF8MB4_GENERAL_CI;
    at = 32;
    at += (size_t)snprintf((char *)login + at, 64, "%.60s", user) + 1;
    prove(plugin, password, greeting->nonce, proof, &proof_len);
    login[at++] = (uint8_t)proof_len;
    memcpy(login + at, proof, proof_len);
    at += proof_len;
    at += (size_t)snprintf((char *)login + at, 64, "%s", plugin) + 1;
    write_packet(login, at, 2);
}

/* Answers until the server has judged the login. */
static void settle(const char *password)
{
    for (;;) {
        sealwire_mysql_packet packet = next_packet();
        uint8_t sequence_id = (uint8_t)(packet.sequence_id + 1), proof[32];
        size_t len = packet.payload_len;
        if (packet.payload[0] == PACKET_OK)
            return;
        if (packet.payload[0] == PACKET_AUTH_SWITCH && len > 22) {
            /* The plugin's name and its NUL, then the nonce and a NUL. */
            const char *plugin = (const char *)packet.payload + 1;
            prove(plugin, password, packet.payload + len - 21, proof, &len);
            write_packet(proof, len, sequence_id);
        } else if (packet.payload[0] == PACKET_AUTH_MORE_DATA && len == 2) {
            /* Inside of TLS the password itself may be sent. */
            if (packet.payload[1] == FULL_AUTHENTICATION)
                write_packet(password, strlen(password) + 1, sequence_id);
        } else {
            fprintf(stderr, "mysql_ping: the server asks for something that is not known here\n");
            exit(1);
        }
    }
}

/* The only cell of the only row: behind the count of columns, one definition and an EOF. */
static void ask(const char *question)
{
    char query[128];
    sealwire_mysql_packet packet;
    int skipped, len = snprintf(query, sizeof query, "%c%s", COM_QUERY, question);

    write_packet(query, (size_t)len, 0);
    for (skipped = 0; skipped < 3; skipped++)
        next_packet();
    packet = next_packet();
    printf("%s = %.*s\n", question, (int)packet.payload_len - 1, (const char *)packet.payload + 1);
}

static int dial(const char *host, const char *port)
{
    struct addrinfo *found, *at, hints = { 0 };
    int fd = -1;

    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return -1;
    for (at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype, 0);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

static const sealwire_config *trust(const char *ca_file)
{
    sealwire_config_builder *builder;
    const sealwire_config *config;

    sealwire_config_builder_new_client(&builder);
    if (sealwire_config_builder_add_roots_file(builder, ca_file) != SEALWIRE_OK ||
        sealwire_config_builder_build(builder, &config) != SEALWIRE_OK) {
        char text[512];
        sealwire_config_builder_error_text(builder, text, sizeof text);
        fprintf(stderr, "mysql_ping: %s: %s\n", ca_file, text);
        exit(1);
    }
    sealwire_config_builder_free(builder);
    return config;
}

int main(int argc, char **argv)
{
    const char *password = getenv("MYSQL_PWD");
    const sealwire_config *config;
    sealwire_mysql_greeting greeting;
    sealwire_result result;
    int fd;

    if (argc != 5) {
        fprintf(stderr, "usage: MYSQL_PWD=... mysql_ping HOST PORT USER CA-FILE\n");
        return 2;
    }
    config = trust(argv[4]);
    fd = dial(argv[1], argv[2]);
    if (fd < 0) {
        fprintf(stderr, "mysql_ping: nobody answers at %s port %s\n", argv[1], argv[2]);
        return 1;
    }
    result = sealwire_conn_new_client(config, argv[1], &conn);
    if (result != SEALWIRE_OK)
        die(argv[1], result);
    sealwire_conn_set_fd(conn, fd);
    sealwire_conn_set_plaintext(conn);
    result = sealwire_conn_mysql_connect(conn, CAPABILITIES, UTF8MB4_GENERAL_CI, &greeting);
    if (result != SEALWIRE_OK)
        die("begin TLS", result);
    printf("server version %s\n", greeting.server_version);

    log_in(&greeting, argv[3], password != NULL ? password : "");
    settle(password != NULL ? password : "");
    ask("SELECT 6 * 7");

    sealwire_conn_shutdown(conn);
    sealwire_conn_free(conn);
    sealwire_config_free(config);
    close(fd);
    return 0;
}
