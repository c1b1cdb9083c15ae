/*
 * An administrator's tool: it asks one question and prints what is answered
 * until the server hangs up.
 *
 *     blocking_tool HOST PORT COMMAND CA.pem
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../example.h"

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_link(const char *host, const char *port)
{
    struct addrinfo hints = {0}, *found;
    int fd;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        die(host);
    fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
        die(host);
    freeaddrinfo(found);
    return fd;
}

int main(int argc, char **argv)
{
    char buf[4096];
    const sealwire_config *config;
    sealwire_conn *conn;
    sealwire_result result;
    size_t len;
    int fd;

    if (argc != 5)
        return 2;
    fd = open_link(argv[1], argv[2]);
    config = client_config(argv[4]);
    if (sealwire_conn_new_client(config, argv[1], &conn) || sealwire_conn_set_fd(conn, fd))
        fail(argv[1], "cannot be the name of a server");
    snprintf(buf, sizeof buf, "%s\n", argv[3]);
    result = sealwire_conn_write(conn, buf, strlen(buf), &len);
    if (result < 0)
        fail_conn("write", result, conn);
    while ((result = sealwire_conn_read(conn, buf, sizeof buf, &len)) == SEALWIRE_OK)
        fwrite(buf, 1, len, stdout);
    if (result < 0)
        fail_conn("read", result, conn);
    sealwire_conn_shutdown(conn);
    sealwire_conn_free(conn);
    sealwire_config_free(config);
    close(fd);
    return 0;
}
