/*
 * Descriptors: all are given back whatever happens, none is inherited, and a lack of them is told.
 *
 *   descriptors CA-FILE CERTIFICATE-FILE KEY-FILE uring|epoll STEP|scarce
 *
 * Of the orders in which handles can be freed it tries every STEP-th; "scarce" is about the lack.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "../../../c-examples/example.h"

enum { HANDLES = 5, CLIENTS = 60, DESCRIPTORS_LEFT = 16, PATIENCE_MS = 60000 };

static char **arguments;

#define CHECK(is_so)                                                                                                 \
    do {                                                                                                             \
        if (!(is_so)) {                                                                                              \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #is_so);                                              \
            exit(1);                                                                                                 \
        }                                                                                                            \
    } while (0)

static size_t open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static sealwire_engine *new_engine(void)
{
    sealwire_engine_options options = { 0 };
    sealwire_engine *engine;
    options.size = sizeof options;
    options.backend = strcmp(arguments[4], "uring") == 0 ? SEALWIRE_BACKEND_IO_URING : SEALWIRE_BACKEND_EPOLL;
    CHECK(sealwire_engine_new(&options, &engine) == SEALWIRE_OK);
    return engine;
}

static sealwire_listener *listen_on_any(sealwire_engine *engine, const sealwire_config *config)
{
    sealwire_listener *listener;
    CHECK(sealwire_engine_listen(engine, config, "127.0.0.1:0", NULL, &listener) == SEALWIRE_OK);
    return listener;
}

static sealwire_conn *new_client(const sealwire_config *config)
{
    sealwire_conn *conn;
    CHECK(sealwire_conn_new_client(config, "localhost", &conn) == SEALWIRE_OK);
    return conn;
}

static void connect_to(sealwire_engine *engine, sealwire_conn *conn, sealwire_listener *listener)
{
    char address[80];
    sealwire_listener_address(listener, address, sizeof address);
    CHECK(sealwire_engine_connect(engine, conn, address, PATIENCE_MS) == SEALWIRE_OK);
}

/* The next event, for which it waits. */
static sealwire_event next_event(sealwire_engine *engine)
{
    sealwire_event event;
    size_t count;
    CHECK(sealwire_engine_wait(engine, PATIENCE_MS, &event, 1, &count) == SEALWIRE_OK);
    CHECK(count == 1);
    return event;
}

static sealwire_conn *next_accepted(sealwire_engine *engine)
{
    sealwire_event event;
    do
        event = next_event(engine);
    while (event.kind != SEALWIRE_EVENT_ACCEPTED);
    return event.conn;
}

static void handshakes_that_fail(void)
{
    const sealwire_config *config = client_config(arguments[1]);
    sealwire_engine *engine = new_engine();
    sealwire_conn *own = new_client(config), *attached = new_client(config);
    int fds[2], others[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, others) == 0);
    CHECK(write(fds[1], "no TLS", 6) == 6 && write(others[1], "no TLS", 6) == 6);
    CHECK(sealwire_conn_set_fd(own, fds[0]) == SEALWIRE_OK);
    CHECK(sealwire_conn_handshake(own) == SEALWIRE_ERR_NOT_TLS);
    sealwire_conn_free(own);
    /* It was lent, and is the caller's to close. */
    CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);

    CHECK(sealwire_engine_attach(engine, attached, others[0]) == SEALWIRE_OK);
    CHECK(next_event(engine).result == SEALWIRE_ERR_NOT_TLS);
    /* It was given away. */
    CHECK(fcntl(others[0], F_GETFD) == -1 && errno == EBADF && close(others[1]) == 0);
    sealwire_conn_free(attached);
    sealwire_engine_free(engine);
    sealwire_config_free(config);
}

static void calls_that_are_refused(void)
{
    const sealwire_config *config = client_config(arguments[1]);
    sealwire_engine *engine = new_engine();
    sealwire_listener *listener = listen_on_any(engine, NULL), *second;
    sealwire_conn *conn = new_client(config);
    sealwire_event event;
    char address[80];
    int fds[2];

    sealwire_listener_address(listener, address, sizeof address);
    CHECK(sealwire_engine_listen(engine, NULL, address, NULL, &second) == SEALWIRE_ERR_IO);
    CHECK(sealwire_engine_os_error(engine) == EADDRINUSE);
    CHECK(pipe(fds) == 0);
    CHECK(sealwire_engine_attach(engine, conn, fds[0]) == SEALWIRE_ERR_ARGUMENT);
    CHECK(sealwire_conn_set_fd(conn, fds[0]) == SEALWIRE_ERR_ARGUMENT);
    CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);

    sealwire_listener_free(listener);
    while (next_event(engine).kind != SEALWIRE_EVENT_UNLISTENED)
        continue;
    CHECK(sealwire_engine_connect(engine, conn, address, PATIENCE_MS) == SEALWIRE_OK);
    event = next_event(engine);
    CHECK(event.kind == SEALWIRE_EVENT_CLOSED && event.result == SEALWIRE_ERR_IO);
    CHECK(sealwire_conn_os_error(conn) == ECONNREFUSED);
    sealwire_conn_free(conn);
    sealwire_engine_free(engine);
    sealwire_config_free(config);
}

/* Of every descriptor that is open behind those of before, whether it closes on exec. */
static void nothing_is_inherited(void)
{
    const sealwire_config *server = server_config(arguments[2], arguments[3]), *client = client_config(arguments[1]);
    sealwire_engine *engine;
    sealwire_listener *listener;
    sealwire_conn *conn = new_client(client), *accepted;
    int fd, was_open[256], flags;

    for (fd = 0; fd < 256; fd++)
        was_open[fd] = fcntl(fd, F_GETFD) >= 0;
    engine = new_engine();
    listener = listen_on_any(engine, server);
    connect_to(engine, conn, listener);
    accepted = next_accepted(engine);
    for (fd = 0; fd < 256; fd++) {
        flags = fcntl(fd, F_GETFD);
        CHECK(was_open[fd] || flags < 0 || (flags & FD_CLOEXEC) != 0);
    }
    sealwire_engine_free(engine);
    sealwire_listener_free(listener);
    sealwire_conn_free(conn);
    sealwire_conn_free(accepted);
    sealwire_config_free(server);
    sealwire_config_free(client);
}

/* A builder, its configuration, an engine, a listener and a connection, freed in this order while an accept, receives
 * and a handshake are under way. */
static void free_in_order(const int order[HANDLES])
{
    sealwire_config_builder *builder;
    const sealwire_config *config = NULL, *client = client_config(arguments[1]);
    sealwire_engine *engine = new_engine();
    sealwire_listener *listener;
    sealwire_conn *conn = new_client(client), *in_handshake = new_client(client), *accepted;
    int i, fds[2];

    CHECK(sealwire_config_builder_new_server(&builder) == SEALWIRE_OK);
    CHECK(sealwire_config_builder_set_identity_files(builder, arguments[2], arguments[3]) == SEALWIRE_OK);
    CHECK(sealwire_config_builder_build(builder, &config) == SEALWIRE_OK);
    listener = listen_on_any(engine, config);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK(sealwire_engine_attach(engine, conn, fds[0]) == SEALWIRE_OK);
    connect_to(engine, in_handshake, listener);
    accepted = next_accepted(engine);
    for (i = 0; i < HANDLES; i++) {
        switch (order[i]) {
        case 0:
            sealwire_config_builder_free(builder);
            break;
        case 1:
            sealwire_config_free(config);
            break;
        case 2:
            sealwire_engine_free(engine);
            engine = NULL;
            break;
        case 3:
            sealwire_listener_free(listener);
            break;
        default:
            sealwire_conn_free(conn);
        }
    }
    CHECK(sealwire_conn_shutdown(in_handshake) == SEALWIRE_ERR_STATE);
    sealwire_conn_free(in_handshake);
    sealwire_conn_free(accepted);
    sealwire_config_free(client);
    CHECK(close(fds[1]) == 0);
}

static void frees_in_any_order(void)
{
    int number, step = atoi(arguments[5]);
    for (number = 0; number < 120; number += step) {
        int order[HANDLES] = { 0 }, left = number, i, j;
        /* The digits of the number, in a system that has as many at each place as handles are left. */
        for (i = 1; i < HANDLES; i++) {
            order[i] = i;
            j = left % (i + 1);
            left /= i + 1;
            order[i] = order[j];
            order[j] = i;
        }
        free_in_order(order);
    }
}

static void keep(sealwire_conn *accepted[], size_t *count, const sealwire_event *event)
{
    if (event->kind == SEALWIRE_EVENT_ACCEPTED)
        accepted[(*count)++] = event->conn;
}

/* More clients than there are descriptors left for: the listener says that it pauses, and goes on when one is free. */
static void a_lack_of_them_is_told(void)
{
    struct rlimit before, scarce;
    struct sockaddr_in address = { .sin_family = AF_INET };
    sealwire_engine *engine;
    sealwire_listener *listener;
    sealwire_conn *accepted[CLIENTS];
    sealwire_event event;
    char why[256];
    size_t count = 0;
    int i, places[DESCRIPTORS_LEFT], clients[CLIENTS];

    /* What is open stays so above the limit: the clients, but not what is left of the numbers below them. */
    for (i = 0; i < DESCRIPTORS_LEFT; i++)
        CHECK((places[i] = dup(0)) >= 0);
    for (i = 0; i < CLIENTS; i++)
        CHECK((clients[i] = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    for (i = 0; i < DESCRIPTORS_LEFT; i++)
        close(places[i]);
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    scarce = before;
    scarce.rlim_cur = (rlim_t)places[DESCRIPTORS_LEFT - 1] + 1;
    CHECK(setrlimit(RLIMIT_NOFILE, &scarce) == 0);

    engine = new_engine();
    listener = listen_on_any(engine, NULL);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(sealwire_listener_port(listener));
    for (i = 0; i < CLIENTS; i++)
        CHECK(connect(clients[i], (struct sockaddr *)&address, sizeof address) == 0);
    do {
        event = next_event(engine);
        keep(accepted, &count, &event);
    } while (event.kind != SEALWIRE_EVENT_ACCEPT_PAUSED);
    CHECK(event.listener == listener && event.result == SEALWIRE_ERR_IO);
    CHECK(sealwire_engine_os_error(engine) == EMFILE || sealwire_engine_os_error(engine) == ENFILE);
    CHECK(sealwire_engine_error_text(engine, why, sizeof why) > 0);
    CHECK(count > 0 && count < CLIENTS);

    sealwire_conn_free(accepted[--count]);
    do {
        event = next_event(engine);
        keep(accepted, &count, &event);
    } while (event.kind != SEALWIRE_EVENT_ACCEPT_RESUMED);
    CHECK(event.listener == listener);

    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    while (count > 0)
        sealwire_conn_free(accepted[--count]);
    sealwire_listener_free(listener);
    sealwire_engine_free(engine);
    for (i = 0; i < CLIENTS; i++)
        close(clients[i]);
}

static void balanced(const char *what, void (*act)(void))
{
    size_t before = open_descriptors(), after;
    act();
    after = open_descriptors();
    if (after != before) {
        fprintf(stderr, "%s: %zu descriptors were open, and %zu are\n", what, before, after);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    arguments = argv;
    if (strcmp(argv[5], "scarce") == 0) {
        balanced("a lack of them is told", a_lack_of_them_is_told);
        return 0;
    }
    balanced("handshakes that fail", handshakes_that_fail);
    balanced("calls that are refused", calls_that_are_refused);
    balanced("nothing is inherited", nothing_is_inherited);
    balanced("frees in any order", frees_in_any_order);
    return 0;
}
