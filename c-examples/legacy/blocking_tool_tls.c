/*
 * An administrator's tool: it asks one question and prints what is answered
 * until the server hangs up.
 *
 *     blocking_tool HOST PORT COMMAND < CA.pem
 */
#include <netdb.h>
#include <sealwire.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static sealwire_conn *conn;

static void die(const char *what)
{
    char why[512];
    if (sealwire_conn_error_text(conn, why, sizeof why) > 0)
        fprintf(stderr, "%s: %s\n", what, why);
    else
        perror(what);
    exit(1);
}

static int dial(const char *host, const char *port)
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

static void secure(int fd, const char *host)
{
    uint8_t ca[65536];
    size_t ca_len = fread(ca, 1, sizeof ca, stdin);
    sealwire_config_builder *builder;
    const sealwire_config *config;
    if (sealwire_config_builder_new_client(&builder) || sealwire_config_builder_add_roots_pem(builder, ca, ca_len)
        || sealwire_config_builder_build(builder, &config) || sealwire_conn_new_client(config, host, &conn)
        || sealwire_conn_set_fd(conn, fd))
        die("TLS");
    sealwire_config_builder_free(builder);
    sealwire_config_free(config);
}

int main(int argc, char **argv)
{
    char buf[4096];
    sealwire_result result;
    size_t len;
    int fd;

    if (argc != 4)
        return 2;
    fd = dial(argv[1], argv[2]);
    secure(fd, argv[1]);
    snprintf(buf, sizeof buf, "%s\n", argv[3]);
    if (sealwire_conn_write(conn, buf, strlen(buf), &len) < 0)
        die("write");
    while ((result = sealwire_conn_read(conn, buf, sizeof buf, &len)) == SEALWIRE_OK)
        fwrite(buf, 1, len, stdout);
    if (result < 0)
        die("read");
    sealwire_conn_free(conn);
    close(fd);
    return 0;
}
