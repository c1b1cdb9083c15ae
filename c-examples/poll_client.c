/*
 * A client with a loop of its own: a descriptor that never blocks, and poll().
 *
 *     poll_client HOST PORT CA.pem
 *
 * Copies its input to the server and the server's data to its output, until the
 * server ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "example.h"

struct outgoing {
    char bytes[16384];
    size_t len, done;
    bool is_ended;
};

static void send_some(sealwire_conn *conn, struct outgoing *out);
static bool receive_some(sealwire_conn *conn);

int main(int argc, char **argv)
{
    static struct outgoing out;
    const sealwire_config *config;
    sealwire_conn *conn;
    sealwire_result result;
    int fd;

    if (argc != 4)
        fail("usage", "poll_client HOST PORT CA.pem");
    config = client_config(argv[3]);
    result = sealwire_conn_new_client(config, argv[1], &conn);
    if (result != SEALWIRE_OK)
        fail(argv[1], sealwire_result_name(result));
    sealwire_config_free(config);
    fd = dial(argv[1], argv[2]);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    sealwire_conn_set_fd(conn, fd);

    do {
        struct pollfd polled[2];
        polled[0].fd = fd;
        polled[0].events = POLLIN;
        if (sealwire_conn_wants_write(conn))
            polled[0].events |= POLLOUT;
        /* A negative descriptor is left out: input waits until what was read before has been taken. */
        polled[1].fd = out.is_ended || out.done < out.len ? -1 : STDIN_FILENO;
        polled[1].events = POLLIN;
        polled[1].revents = 0;
        /* 0 where plaintext waits inside, of which the descriptor says nothing. */
        if (poll(polled, 2, sealwire_conn_timeout_ms(conn)) < 0 && errno != EINTR)
            fail("poll", strerror(errno));
        if (polled[1].revents != 0) {
            ssize_t got = read(STDIN_FILENO, out.bytes, sizeof out.bytes);
            out.len = got > 0 ? (size_t)got : 0;
            out.done = 0;
            out.is_ended = got <= 0;
            if (out.is_ended)
                sealwire_conn_shutdown(conn);
        }
        send_some(conn, &out);
    } while (receive_some(conn));

    sealwire_conn_free(conn);
    close(fd);
    return 0;
}

static void send_some(sealwire_conn *conn, struct outgoing *out)
{
    size_t written = 0;
    sealwire_result result;
    if (out->done == out->len)
        result = sealwire_conn_flush(conn);
    else
        result = sealwire_conn_write(conn, out->bytes + out->done, out->len - out->done, &written);
    if (result < 0)
        fail_conn("write", result, conn);
    /* What was taken is the library's, and is not offered again. */
    out->done += written;
}

/* Reads once; false at the end. */
static bool receive_some(sealwire_conn *conn)
{
    char bytes[1024];
    size_t read = 0;
    sealwire_result result = sealwire_conn_read(conn, bytes, sizeof bytes, &read);
    if (result < 0)
        fail_conn("read", result, conn);
    fwrite(bytes, 1, read, stdout);
    fflush(stdout);
    return result != SEALWIRE_EOF;
}
