/*
 * A blocking client: the calls wait, as read() and write() do.
 *
 *     blocking_client HOST PORT CA.pem TEXT
 *
 * Sends one line and prints the line that comes back. The server is verified:
 * chain, dates and name.
 */
#include "example.h"

int main(int argc, char **argv)
{
    const sealwire_config *config;
    sealwire_conn *conn;
    sealwire_result result;
    char line[1024], answer[1024];
    size_t written, read, len = 0;
    int fd;

    if (argc != 5)
        fail("usage", "blocking_client HOST PORT CA.pem TEXT");
    config = client_config(argv[3]);
    result = sealwire_conn_new_client(config, argv[1], &conn);
    if (result != SEALWIRE_OK)
        fail(argv[1], sealwire_result_name(result));
    /* The connection keeps what it needs of its configuration. */
    sealwire_config_free(config);

    fd = dial(argv[1], argv[2]);
    sealwire_conn_set_fd(conn, fd);
    /* Reading and writing would do it by themselves; asked for, a refusal has a place of its own. */
    result = sealwire_conn_handshake(conn);
    if (result != SEALWIRE_OK)
        fail_conn("handshake", result, conn);

    snprintf(line, sizeof line, "%s\n", argv[4]);
    /* On a descriptor that blocks, all is written or nothing more can be. */
    result = sealwire_conn_write(conn, line, strlen(line), &written);
    if (result != SEALWIRE_OK)
        fail_conn("write", result, conn);

    while (len < sizeof answer && memchr(answer, '\n', len) == NULL) {
        result = sealwire_conn_read(conn, answer + len, sizeof answer - len, &read);
        if (result == SEALWIRE_EOF)
            break;
        if (result != SEALWIRE_OK)
            fail_conn("read", result, conn);
        len += read;
    }
    fwrite(answer, 1, len, stdout);

    /* Says that nothing was cut off; the descriptor stays the caller's to close. */
    sealwire_conn_shutdown(conn);
    sealwire_conn_free(conn);
    close(fd);
    return 0;
}
