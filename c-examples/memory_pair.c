/*
 * Both ends in one process, and no socket: the program moves the bytes.
 *
 *     memory_pair CA.pem CHAIN.pem KEY.pem
 *
 * It is how a connection runs over what is no descriptor (shared memory, RDMA,
 * another protocol), and how a program is tested without a network.
 */
#include "example.h"

static void carry(sealwire_conn *from, sealwire_conn *to);

int main(int argc, char **argv)
{
    const sealwire_config *client_side, *server_side;
    sealwire_conn *client, *server;
    sealwire_result client_result, server_result;
    const char greeting[] = "hello from memory";
    char received[64];
    size_t len = 0;

    if (argc != 4)
        fail("usage", "memory_pair CA.pem CHAIN.pem KEY.pem");
    client_side = client_config(argv[1]);
    server_side = server_config(argv[2], argv[3]);
    if (sealwire_conn_new_client(client_side, "localhost", &client) != SEALWIRE_OK
        || sealwire_conn_new_server(server_side, &server) != SEALWIRE_OK)
        fail("connections", "cannot be made");

    do {
        client_result = sealwire_conn_handshake(client);
        carry(client, server);
        server_result = sealwire_conn_handshake(server);
        carry(server, client);
        if (client_result < 0)
            fail_conn("client", client_result, client);
        if (server_result < 0)
            fail_conn("server", server_result, server);
    } while (client_result != SEALWIRE_OK || server_result != SEALWIRE_OK);

    client_result = sealwire_conn_write(client, greeting, strlen(greeting), &len);
    if (client_result != SEALWIRE_OK || len != strlen(greeting))
        fail_conn("write", client_result, client);
    sealwire_conn_shutdown(client);
    carry(client, server);
    while ((server_result = sealwire_conn_read(server, received, sizeof received, &len)) == SEALWIRE_OK)
        printf("%.*s\n", (int)len, received);
    if (server_result != SEALWIRE_EOF)
        fail_conn("read", server_result, server);

    sealwire_conn_free(client);
    sealwire_conn_free(server);
    sealwire_config_free(client_side);
    sealwire_config_free(server_side);
    return 0;
}

/* Moves what one end has to send to the other, which takes no more than it has room for. */
static void carry(sealwire_conn *from, sealwire_conn *to)
{
    const uint8_t *tls;
    size_t len, taken;
    while ((len = sealwire_conn_output(from, &tls)) > 0) {
        if (sealwire_conn_feed(to, tls, len, &taken) != SEALWIRE_OK || taken == 0)
            return;
        sealwire_conn_output_sent(from, taken);
    }
}
