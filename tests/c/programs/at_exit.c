/* Frees a connection behind the end of main(), when the thread-locals of the library are gone. */
#include <stdio.h>
#include <stdlib.h>

#include <sealwire.h>

static sealwire_conn *conn;

static void free_conn(void)
{
    sealwire_conn_free(conn);
}

int main(int argc, char **argv)
{
    sealwire_config_builder *builder;
    const sealwire_config *config;
    const uint8_t *tls;

    if (argc != 2 || atexit(free_conn) != 0)
        return 2;
    if (sealwire_config_builder_new_client(&builder) != SEALWIRE_OK ||
        sealwire_config_builder_add_roots_file(builder, argv[1]) != SEALWIRE_OK ||
        sealwire_config_builder_build(builder, &config) != SEALWIRE_OK ||
        sealwire_conn_new_client(config, "localhost", &conn) != SEALWIRE_OK)
        return 1;
    sealwire_config_builder_free(builder);
    sealwire_config_free(config);
    /* It has begun, and holds a buffer. */
    if (sealwire_conn_handshake(conn) != SEALWIRE_WANT_READ || sealwire_conn_output(conn, &tls) == 0)
        return 1;
    puts("freed behind this line");
    return 0;
}
