/*
 * A MySQL server for one client: begins TLS, takes any login, answers each command with OK until
 * COM_QUIT. Prints its port first, and how it ended last.
 *
 *   mysql_server CERTIFICATE-FILE KEY-FILE
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sealwire.h>

enum { CAPABILITIES = 1 << 9 | 1 << 15 | 1 << 19, COM_QUIT = 1 };

static size_t read_file(const char *path, uint8_t *buf, size_t len)
{
    FILE *file = fopen(path, "r");
    size_t read_len = file != NULL ? fread(buf, 1, len, file) : 0;
    if (file != NULL)
        fclose(file);
    return read_len;
}

static sealwire_result serve(sealwire_conn *conn)
{
    static const uint8_t ok[] = { 0, 0, 0, 2, 0, 0, 0 };
    sealwire_mysql_greeting greeting = { 0 };
    sealwire_mysql_packet packet, answer = { ok, sizeof ok, 0 };
    sealwire_result result;

    greeting.capabilities = CAPABILITIES;
    greeting.thread_id = 7;
    greeting.status = 2;
    greeting.collation = 45;
    memcpy(greeting.nonce, "abcdefghijklmnopqrst", 20);
    strcpy(greeting.server_version, "8.0.0-sealwire");
    strcpy(greeting.plugin, "mysql_native_password");
    result = sealwire_conn_mysql_accept(conn, &greeting);
    if (result != SEALWIRE_OK)
        return result;
    for (;;) {
        result = sealwire_conn_next_mysql_packet(conn, &packet);
        if (result != SEALWIRE_OK)
            return result;
        if (packet.sequence_id == 0 && packet.payload_len == 1 && packet.payload[0] == COM_QUIT)
            return sealwire_conn_shutdown(conn);
        answer.sequence_id = (uint8_t)(packet.sequence_id + 1);
        result = sealwire_conn_write_mysql_packet(conn, &answer);
        if (result != SEALWIRE_OK)
            return result;
    }
}

int main(int argc, char **argv)
{
    static uint8_t chain[65536], key[65536];
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t address_len = sizeof address;
    sealwire_config_builder *builder;
    const sealwire_config *config;
    sealwire_conn *conn;
    sealwire_result result;
    char text[512] = "";
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

    if (argc != 3)
        return 2;
    sealwire_config_builder_new_server(&builder);
    result = sealwire_config_builder_set_identity_pem(builder, chain, read_file(argv[1], chain, sizeof chain),
                                                      key, read_file(argv[2], key, sizeof key));
    if (result != SEALWIRE_OK || sealwire_config_builder_build(builder, &config) != SEALWIRE_OK)
        return 1;
    sealwire_config_builder_free(builder);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &address_len) != 0)
        return 1;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    fd = accept(listener, NULL, NULL);
    sealwire_conn_new_server(config, &conn);
    sealwire_conn_set_fd(conn, fd);
    sealwire_conn_set_plaintext(conn);
    result = serve(conn);
    sealwire_conn_error_text(conn, text, sizeof text);
    printf("%s %s\n", sealwire_result_name(result), text);
    sealwire_conn_free(conn);
    sealwire_config_free(config);
    close(fd);
    close(listener);
    return 0;
}
