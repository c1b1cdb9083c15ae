/*
 * A server of thousands of connections: an engine waits for all of them at once,
 * by io_uring where the kernel has it.
 *
 *     engine_echo ADDRESS:PORT CHAIN.pem KEY.pem COUNT
 *
 * It prints its port and what moves its bytes once it listens, sends back what
 * it gets, and ends when COUNT connections have come and gone.
 */
#include "example.h"

/* What a client has not taken yet. Most have none, so that an idle connection costs nothing here. */
struct rest {
    size_t len, done;
    char bytes[];
};

static void echo(sealwire_conn *conn);
static void go_on(sealwire_conn *conn, struct rest *rest);

int main(int argc, char **argv)
{
    sealwire_engine *engine;
    sealwire_listener *listener;
    sealwire_event events[256];
    const sealwire_config *config;
    char why[512];
    size_t count, i;
    long left;

    if (argc != 5)
        fail("usage", "engine_echo ADDRESS:PORT CHAIN.pem KEY.pem COUNT");
    config = server_config(argv[2], argv[3]);
    left = atol(argv[4]);
    if (sealwire_engine_new(NULL, &engine) != SEALWIRE_OK)
        fail("engine", "cannot be made");
    if (sealwire_engine_listen(engine, config, argv[1], NULL, &listener) != SEALWIRE_OK) {
        sealwire_engine_error_text(engine, why, sizeof why);
        fail(argv[1], why);
    }
    sealwire_config_free(config);
    sealwire_engine_describe(engine, why, sizeof why);
    printf("%d\n%s\n", sealwire_listener_port(listener), why);
    fflush(stdout);

    while (left > 0) {
        if (sealwire_engine_wait(engine, -1, events, 256, &count) < 0) {
            sealwire_engine_error_text(engine, why, sizeof why);
            fail("wait", why);
        }
        for (i = 0; i < count; i++) {
            sealwire_conn *conn = events[i].conn;
            if (events[i].kind == SEALWIRE_EVENT_READABLE) {
                echo(conn);
            } else if (events[i].kind == SEALWIRE_EVENT_WRITABLE) {
                go_on(conn, events[i].user_data);
            } else if (events[i].kind == SEALWIRE_EVENT_CLOSED) {
                free(events[i].user_data);
                sealwire_conn_free(conn);
                left--;
            }
        }
    }
    sealwire_listener_free(listener);
    sealwire_engine_free(engine);
    return 0;
}

/* Errors need no answer here: the engine tells them by SEALWIRE_EVENT_CLOSED. */
static void echo(sealwire_conn *conn)
{
    static char buf[65536];
    struct rest *rest;
    size_t len, written = 0;
    sealwire_result result = sealwire_conn_read(conn, buf, sizeof buf, &len);
    if (result == SEALWIRE_EOF)
        sealwire_conn_shutdown(conn);
    if (result != SEALWIRE_OK || sealwire_conn_write(conn, buf, len, &written) < 0 || written == len)
        return;
    /* The client reads slower than it writes: it is not read from before it has taken the rest. */
    rest = malloc(sizeof *rest + len - written);
    if (rest == NULL)
        fail("malloc", "no memory");
    rest->len = len - written;
    rest->done = 0;
    memcpy(rest->bytes, buf + written, rest->len);
    sealwire_conn_set_user_data(conn, rest);
    sealwire_conn_set_reading(conn, false);
}

static void go_on(sealwire_conn *conn, struct rest *rest)
{
    size_t written = 0;
    sealwire_conn_write(conn, rest->bytes + rest->done, rest->len - rest->done, &written);
    rest->done += written;
    if (rest->done < rest->len)
        return;
    free(rest);
    sealwire_conn_set_user_data(conn, NULL);
    sealwire_conn_set_reading(conn, true);
}
