/*
 * An administrator's tool: it asks one question and prints what is answered
 * until the server hangs up.
 *
 *     blocking_tool HOST PORT COMMAND
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
    ssize_t len;
    int fd;

    if (argc != 4)
        return 2;
    fd = open_link(argv[1], argv[2]);
    snprintf(buf, sizeof buf, "%s\n", argv[3]);
    if (write(fd, buf, strlen(buf)) < 0)
        die("write");
    while ((len = read(fd, buf, sizeof buf)) > 0)
        fwrite(buf, 1, (size_t)len, stdout);
    if (len < 0)
        die("read");
    close(fd);
    return 0;
}
