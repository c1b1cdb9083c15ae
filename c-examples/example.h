/*
 * What every example needs and none is about: a socket, a configuration out
 * of files, an end with words.
 */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sealwire.h>

/* For slow machines: the library's own is 10 s. */
#ifndef HANDSHAKE_TIMEOUT_MS
#define HANDSHAKE_TIMEOUT_MS 10000
#endif

static inline void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* The name of the result is for programs; the words are for people. */
static inline void fail_conn(const char *what, sealwire_result result, const sealwire_conn *conn)
{
    char why[512];
    sealwire_conn_error_text(conn, why, sizeof why);
    fprintf(stderr, "%s: %s: %s\n", what, sealwire_result_name(result), why);
    exit(1);
}

/* Takes the builder back, whether or not something is built. */
static inline const sealwire_config *build(sealwire_config_builder *builder, sealwire_result result)
{
    const sealwire_config *config = NULL;
    char why[512];
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_set_handshake_timeout_ms(builder, HANDSHAKE_TIMEOUT_MS);
    if (result == SEALWIRE_OK)
        result = sealwire_config_builder_build(builder, &config);
    sealwire_config_builder_error_text(builder, why, sizeof why);
    sealwire_config_builder_free(builder);
    if (result != SEALWIRE_OK)
        fail("configuration", why);
    return config;
}

/* Servers are verified in full, by the authorities in a file, or by the system's. */
static inline const sealwire_config *client_config(const char *ca_path)
{
    sealwire_config_builder *builder;
    if (sealwire_config_builder_new_client(&builder) != SEALWIRE_OK)
        fail("configuration", "no memory");
    return build(builder, strcmp(ca_path, "system") == 0
                              ? sealwire_config_builder_add_roots_system(builder)
                              : sealwire_config_builder_add_roots_file(builder, ca_path));
}

static inline const sealwire_config *server_config(const char *chain_path, const char *key_path)
{
    sealwire_config_builder *builder;
    if (sealwire_config_builder_new_server(&builder) != SEALWIRE_OK)
        fail("configuration", "no memory");
    return build(builder, sealwire_config_builder_set_identity_files(builder, chain_path, key_path));
}

/* A connected socket. */
static inline int dial(const char *host, const char *port)
{
    struct addrinfo hints = {0}, *found, *each;
    int fd = -1, code;
    hints.ai_socktype = SOCK_STREAM;
    code = getaddrinfo(host, port, &hints, &found);
    if (code != 0)
        fail(host, gai_strerror(code));
    for (each = found; each != NULL; each = each->ai_next) {
        fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
        if (fd >= 0 && connect(fd, each->ai_addr, each->ai_addrlen) == 0)
            break;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd < 0)
        fail(host, "no connection");
    return fd;
}

#endif
