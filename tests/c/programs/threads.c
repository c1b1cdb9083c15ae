/*
 * Two threads with connections of their own and one configuration between them,
 * which a third one frees while they work.
 */
#include <pthread.h>

#include "../../../c-examples/example.h"

struct shared {
    const sealwire_config *client, *server;
    pthread_barrier_t made;
};

static void carry(sealwire_conn *from, sealwire_conn *to)
{
    const uint8_t *tls;
    size_t len, taken;
    while ((len = sealwire_conn_output(from, &tls)) > 0) {
        if (sealwire_conn_feed(to, tls, len, &taken) != SEALWIRE_OK)
            fail("feed", "refused");
        sealwire_conn_output_sent(from, taken);
    }
}

static void *talk(void *argument)
{
    struct shared *shared = argument;
    sealwire_conn *client, *server;
    sealwire_result client_result, server_result;
    char sent[1000] = {0}, received[1000];
    size_t len;
    int i;
    if (sealwire_conn_new_client(shared->client, "localhost", &client) != SEALWIRE_OK
        || sealwire_conn_new_server(shared->server, &server) != SEALWIRE_OK)
        fail("connections", "cannot be made");
    pthread_barrier_wait(&shared->made);
    do {
        client_result = sealwire_conn_handshake(client);
        carry(client, server);
        server_result = sealwire_conn_handshake(server);
        carry(server, client);
        if (client_result < 0)
            fail_conn("client", client_result, client);
    } while (client_result != SEALWIRE_OK || server_result != SEALWIRE_OK);
    for (i = 0; i < 100; i++) {
        memset(sent, i, sizeof sent);
        if (sealwire_conn_write(client, sent, sizeof sent, &len) != SEALWIRE_OK || len != sizeof sent)
            fail("write", "is short");
        carry(client, server);
        if (sealwire_conn_read(server, received, sizeof received, &len) != SEALWIRE_OK || len != sizeof sent
            || memcmp(sent, received, len) != 0)
            fail("read", "is not what was written");
    }
    sealwire_conn_free(client);
    sealwire_conn_free(server);
    return NULL;
}

int main(int argc, char **argv)
{
    struct shared shared;
    pthread_t threads[2];
    int i;
    if (argc != 4)
        return 2;
    shared.client = client_config(argv[1]);
    shared.server = server_config(argv[2], argv[3]);
    pthread_barrier_init(&shared.made, NULL, 3);
    for (i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, talk, &shared) != 0)
            fail("pthread_create", "failed");
    pthread_barrier_wait(&shared.made);
    sealwire_config_free(shared.client);
    sealwire_config_free(shared.server);
    for (i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&shared.made);
    return 0;
}
