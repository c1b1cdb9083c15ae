/*
 * An administrator's tool: sets parameters of one OBServer, as "ob_admin set_server_config" does,
 * over a connection that is negotiated, encrypted and verified.
 *
 *   admin_tool --ca CA.pem [--cert CERT.pem --key KEY.pem] HOST PORT NAME=VALUE...
 *
 * One call and its answer. What matters in a tool that changes something is what it says when it
 * cannot know whether it did: that has an exit code of its own.
 */
#include "ob_client.h"
#include "unis.h"

static const char usage[] = "usage: admin_tool [FLAGS] HOST PORT NAME=VALUE...\n"
                            "\n"
                            "Sets parameters of the server whose RPC port this is.";

static const char help[] = "Exit code:\n"
                           "  0  done\n"
                           "  1  the server said no\n"
                           "  2  this tool cannot be used like that\n"
                           "  3  the server could not be reached, or is not to be believed; nothing was changed\n"
                           "  4  no answer: whether anything was changed is not known\n";

enum {
    SET_CONFIG = 0x106,
    SYS_TENANT = 1,
    /* A server leaves a connection to a group of its threads: 1 has everything but the log. */
    DEFAULT_GROUP = 1,
    UNANSWERED = 4
};

/* One string is what the server takes: "name=value,name=value". */
static void join_settings(char **settings, char *joined, size_t capacity)
{
    size_t len = 0;
    for (; *settings != NULL; settings++) {
        if (strchr(*settings, '=') == NULL || **settings == '=')
            ob_die(OB_USAGE, "\"%s\" is not NAME=VALUE", *settings);
        len += (size_t)snprintf(joined + len, capacity - len, "%s%s", len > 0 ? "," : "", *settings);
        if (len >= capacity)
            ob_die(OB_USAGE, "that is more than %zu bytes of settings", capacity);
    }
    if (len == 0)
        ob_die(OB_USAGE, "what is to be set? See --help");
}

int main(int argc, char **argv)
{
    static const struct ob_flag no_flags[] = { { NULL, NULL, NULL, NULL } };
    char joined[4096];
    uint8_t bytes[sizeof joined + 16];
    struct unis_writer args = { bytes, sizeof bytes, 0, false };
    sealwire_obrpc_reply reply;
    sealwire_result result;

    join_settings(argv + ob_parse(argc, argv, no_flags, usage, help), joined, sizeof joined);
    unis_put_string(&args, joined);
    ob_configure((uint64_t)DEFAULT_GROUP << 32);
    result = ob_open();
    if (result != SEALWIRE_OK)
        ob_die(OB_UNREACHABLE, "%s", ob_why(result));
    result = ob_call(SET_CONFIG, SYS_TENANT, args.bytes, args.len, &reply);
    if (result != SEALWIRE_OK)
        ob_die(UNANSWERED, "%s; whether anything was changed is not known", ob_why(result));
    if (reply.rcode != 0)
        ob_die_of_server(reply.rcode, reply.message, reply.message_len);
    printf("%s\n", sealwire_obrpc_rcode_name(reply.rcode));
    sealwire_conn_shutdown(ob.conn);
    ob_end();
    return OB_DONE;
}
