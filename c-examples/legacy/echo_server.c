/*
 * An echo server on edge-triggered epoll: one thread, any number of clients.
 *
 *     echo_server PORT
 *
 * It prints its port once it listens, and ends when its input ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    int fd;
    size_t len, done;
    char buf[4096];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int epoll, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events | EPOLLET, .data.ptr = data};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 1024) != 0)
        die("listen");
    getsockname(fd, (struct sockaddr *)&address, &len);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_clients(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct client *client = calloc(1, sizeof *client);
        if (client == NULL)
            die("calloc");
        client->fd = fd;
        watch(epoll, fd, EPOLLIN | EPOLLOUT, client);
    }
}

static void drop(struct client *client)
{
    close(client->fd);
    free(client);
}

/* An edge is told once: it goes on until the socket would block; false once the client is done. */
static bool serve(struct client *client)
{
    for (;;) {
        ssize_t moved;
        if (client->done == client->len) {
            moved = read(client->fd, client->buf, sizeof client->buf);
            client->len = moved > 0 ? (size_t)moved : 0;
            client->done = 0;
        } else {
            moved = send(client->fd, client->buf + client->done, client->len - client->done, MSG_NOSIGNAL);
            client->done += moved > 0 ? (size_t)moved : 0;
        }
        if (moved < 0 && errno == EAGAIN)
            return true;
        if (moved <= 0)
            return false;
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener, count, i;
    static struct client listening, input;
    if (argc != 2)
        return 2;
    listener = listen_on(atoi(argv[1]));
    watch(epoll, listener, EPOLLIN, &listening);
    watch(epoll, STDIN_FILENO, EPOLLIN, &input);
    for (;;) {
        count = epoll_wait(epoll, events, 64, -1);
        for (i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client == &input)
                return 0;
            if (client == &listening)
                accept_clients(epoll, listener);
            else if (!serve(client))
                drop(client);
        }
    }
}
